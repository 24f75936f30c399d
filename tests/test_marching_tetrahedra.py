"""Isosurfaces: converge to known shapes, close, and differentiate."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from pipeline.geometry.marching_tetrahedra import marching_tetrahedra
from pipeline.geometry.mesh_ops import face_normals, open_edges, signed_volume
from pipeline.geometry.tet_grid import TetGrid
from tests.shapes import area, grid, points, sphere, sphere_sdf, torus_sdf


def test_area_and_volume_of_a_sphere_converge_quadratically():
    errors = []
    for resolution in (17, 33, 65):
        mesh = sphere(resolution)
        errors.append([area(*mesh) / (4 * math.pi) - 1, signed_volume(*mesh) / (4 / 3 * math.pi) - 1])
    error = torch.tensor(errors)
    assert (error < 0).all()  # inscribed: vertices of an exact distance lie inside by the chord's error
    rate = torch.log2(error[:-1] / error[1:])
    assert ((rate > 1.8) & (rate < 2.2)).all(), rate  # measured 1.94 .. 2.01
    assert error[-1].abs().max() < 2e-3


def test_a_sphere_is_closed_and_faces_outwards():
    vertices, faces = sphere(25)
    assert open_edges(faces) == 0
    normals = face_normals(vertices, faces)
    # Slivers of next to no area have no direction worth checking.
    large = normals.norm(dim=-1) > 1e-6
    outward = normalize(vertices[faces].mean(1), dim=-1)
    assert ((normalize(normals, dim=-1) * outward).sum(-1)[large] > 0.9).all()


def test_a_torus_has_euler_number_zero_and_its_volume():
    where = grid(49)
    vertices, faces = marching_tetrahedra(torus_sdf(points(where)), where)
    assert open_edges(faces) == 0
    edges = len(faces) * 3 // 2
    assert len(vertices) - edges + len(faces) == 0
    exact = 2 * math.pi**2 * 0.8 * 0.35**2
    assert signed_volume(vertices, faces) == pytest.approx(exact, rel=0.006)  # measured -0.4 %: chords of the tube


def test_random_fields_give_closed_oriented_surfaces():
    """All 16 cases with all their neighbours: each directed edge occurs once, and once the other way round."""
    where = grid(12)
    for values in (torch.randn(10, 10, 10), torch.randint(-1, 2, (10, 10, 10))):  # the latter with exact zeros
        sdf = torch.ones(where.shape, dtype=torch.float64)
        sdf[1:-1, 1:-1, 1:-1] = values.double()
        vertices, faces = marching_tetrahedra(sdf, where)
        assert vertices.isfinite().all()
        edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
        directed, count = torch.unique(edges, dim=0, return_counts=True)
        assert (count == 1).all()
        assert torch.equal(directed, torch.unique(edges.flip(1), dim=0))  # not a frame flip: the edge reversed


def test_open_only_where_the_surface_meets_the_border():
    where = grid(12)
    sdf = torch.randn(where.shape, dtype=torch.float64)
    vertices, faces = marching_tetrahedra(sdf, where)
    edges, count = torch.unique(
        torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).sort(1).values, dim=0, return_counts=True
    )
    on_border = ((vertices.abs() - 1.3).abs() < 1e-9).any(1)
    assert (count <= 2).all()
    assert on_border[edges[count == 1]].all()


def test_a_linear_field_is_extracted_exactly():
    normal, offset = normalize(torch.tensor([0.3, -0.7, 0.5], dtype=torch.float64), dim=0), 0.123
    where = grid(9)
    vertices, faces = marching_tetrahedra(points(where) @ normal - offset, where)
    torch.testing.assert_close(vertices @ normal, torch.full_like(vertices[:, 0], offset))
    normals = normalize(face_normals(vertices, faces), dim=-1)
    torch.testing.assert_close(normals, normal.expand_as(normals), atol=1e-6, rtol=0)  # slivers round


def test_refining_the_grid_keeps_the_surface():
    """Fine points are midpoints of coarse edges, so halving the cells of the same field changes nothing."""
    coarse = grid(8)
    field = torch.randn(coarse.shape, dtype=torch.float64)
    fine = TetGrid(origin=coarse.origin, spacing=coarse.spacing / 2, shape=(15, 15, 15))
    low, high = torch.arange(15) // 2, (torch.arange(15) + 1) // 2
    refined = (field[low][:, low][:, :, low] + field[high][:, high][:, :, high]) / 2
    before, after = marching_tetrahedra(field, coarse), marching_tetrahedra(refined, fine)
    assert len(after[1]) > 3 * len(before[1])
    assert area(*after) == pytest.approx(area(*before), rel=1e-9)
    assert signed_volume(*after) == pytest.approx(signed_volume(*before), rel=1e-9)


def test_vertices_differentiate_with_respect_to_the_distances():
    where = grid(5)
    sdf = (sphere_sdf(points(where), radius=0.8) + 0.05 * torch.randn(where.shape)).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: marching_tetrahedra(s, where)[0], (sdf,))


def test_nothing_inside_gives_an_empty_mesh():
    where = grid(5)
    vertices, faces = marching_tetrahedra(torch.ones(where.shape, dtype=torch.float64), where)
    assert vertices.shape == (0, 3)
    assert faces.shape == (0, 3)
