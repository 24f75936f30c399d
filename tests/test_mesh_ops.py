"""Normals, volume and parts of meshes."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from pipeline.geometry.marching_tetrahedra import marching_tetrahedra
from pipeline.geometry.mesh_ops import (
    drop_opposite,
    drop_unused,
    face_components,
    face_normals,
    has_border,
    keep_solid_parts,
    open_edges,
    signed_volume,
    split_at_creases,
)
from pipeline.geometry.normals import angle_weighted_normals, vertex_normals
from tests.shapes import area, bumpy_sphere, capsule_sdf, grid, points, sphere, sphere_sdf

CUBE = torch.tensor([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=torch.float64)
SIDES = torch.tensor([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
CUBE_FACES = torch.cat([SIDES[:, [0, 1, 2]], SIDES[:, [0, 2, 3]]])


def solid(*parts):
    """A mesh of the union of some fields."""
    where = grid(41)
    sdf = torch.stack([part(points(where)) for part in parts]).amin(0)
    return marching_tetrahedra(sdf, where)


def test_a_cube():
    assert open_edges(CUBE_FACES) == 0
    assert signed_volume(CUBE, CUBE_FACES) == pytest.approx(1)
    assert signed_volume(CUBE, CUBE_FACES[:, [0, 2, 1]]) == pytest.approx(-1)
    assert area(CUBE, CUBE_FACES) == pytest.approx(6)
    # Weights by angle do not depend on how the sides are split: each corner's normal is its diagonal.
    expected = normalize(CUBE - 0.5, dim=-1)
    torch.testing.assert_close(vertex_normals(CUBE, CUBE_FACES), expected, atol=1e-6, rtol=0)  # acos near its clamp


def test_open_edges_of_a_cube_without_a_face():
    assert open_edges(CUBE_FACES[1:]) == 3


def test_volume_does_not_depend_on_the_origin():
    vertices, faces = sphere()
    assert signed_volume(vertices + 10, faces) == pytest.approx(signed_volume(vertices, faces), rel=1e-9)


def test_vertex_normals_of_a_sphere():
    vertices, faces = sphere(49)
    angle = (vertex_normals(vertices, faces) * normalize(vertices, dim=-1)).sum(-1).clamp(-1, 1).acos()
    assert angle.rad2deg().mean() < 1.0  # measured 0.75
    assert angle.rad2deg().max() < 4  # measured 2.6


def test_vertex_normals_differentiate():
    vertices = (CUBE + 0.1 * torch.randn(CUBE.shape)).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: vertex_normals(v, CUBE_FACES), (vertices,))
    assert torch.autograd.gradcheck(lambda v: face_normals(v, CUBE_FACES), (vertices,))


def test_parts_are_told_apart():
    vertices, faces = solid(lambda p: sphere_sdf(p, (0.6, 0, 0), 0.5), lambda p: sphere_sdf(p, (-0.6, 0, 0), 0.4))
    label = face_components(faces)
    assert int(label.max()) == 1
    side = vertices[faces].mean(1)[:, 0] > 0
    assert torch.equal(side, label == label[side.nonzero()[0, 0]])


def test_floaters_and_cavities_go_and_thin_rods_stay():
    where = grid(65)
    p = points(where)
    body = torch.maximum(sphere_sdf(p, radius=0.7), -sphere_sdf(p, radius=0.4))  # hollow
    rod = capsule_sdf(p, (0.0, 0.6, 0.0), (0.0, 1.2, 0.0), 0.06)
    speck = sphere_sdf(p, (1.1, 1.1, 1.1), 0.06)
    vertices, faces = marching_tetrahedra(torch.stack([body, rod, speck]).amin(0), where)
    kept, kept_faces, dropped = keep_solid_parts(vertices, faces, min_share=1e-2)
    assert dropped == 2
    assert open_edges(kept_faces) == 0
    rod_volume = math.pi * 0.06**2 * 0.5 + 2 / 3 * math.pi * 0.06**3
    assert signed_volume(kept, kept_faces) == pytest.approx(4 / 3 * math.pi * 0.7**3 + rod_volume, rel=0.01)
    assert kept[:, 1].max() > 1.24
    assert kept[:, 0].max() < 0.75
    assert kept.norm(dim=-1).min() > 0.65


def test_a_second_solid_part_is_kept_by_its_share():
    mesh = solid(lambda p: sphere_sdf(p, (0.6, 0, 0), 0.5), lambda p: sphere_sdf(p, (-0.6, 0, 0), 0.25))
    assert keep_solid_parts(*mesh, min_share=0.1)[2] == 0  # its share is 1/8
    assert keep_solid_parts(*mesh, min_share=0.15)[2] == 1


def test_dropping_unused_vertices_keeps_the_triangles():
    vertices = torch.randn(20, 3)
    faces = torch.tensor([[3, 7, 19], [7, 11, 19]])
    used, renumbered = drop_unused(vertices, faces)
    assert len(used) == 4
    assert torch.equal(used[renumbered], vertices[faces])


def test_the_normals_kernel_is_its_definition_with_its_gradient():
    vertices, faces = sphere(9)
    vertices = vertices + 0.05 * torch.sin(9 * vertices.flip(1))
    vertices.requires_grad_()
    weights = torch.randn(vertices.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    results = []
    for normals in (vertex_normals, lambda v, f: torch.nn.functional.normalize(angle_weighted_normals(v, f), dim=-1)):
        out = normals(vertices, faces)
        results.append((out, *torch.autograd.grad((out * weights).sum(), vertices)))
    for ours, definition in zip(*results, strict=True):
        torch.testing.assert_close(ours, definition, rtol=1e-9, atol=1e-9)
    few = torch.tensor([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]], dtype=torch.float64, requires_grad=True)
    tetrahedron = torch.tensor([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])
    assert torch.autograd.gradcheck(lambda v: vertex_normals(v, tetrahedron), (few,))


def test_normals_of_faces_without_area_are_finite():
    vertices = torch.tensor([[0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 1, 0.0]], requires_grad=True)
    faces = torch.tensor([[0, 1, 2], [0, 0, 1], [0, 1, 3]])
    normals = vertex_normals(vertices, faces)
    normals.sum().backward()
    assert torch.isfinite(normals).all()
    assert torch.isfinite(vertices.grad).all()
    with pytest.raises(IndexError, match="vertices 0 to 4, there are 4"):
        vertex_normals(vertices, torch.tensor([[0, 1, 4]]))


def test_normals_are_the_same_for_any_thread_count():
    vertices, faces = (x.float() if x.is_floating_point() else x for x in sphere(17))
    before, results = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        leaf = vertices.clone().requires_grad_()
        normals = vertex_normals(leaf, faces)
        normals[:, 0].sum().backward()
        results.append((normals.detach(), leaf.grad))
    torch.set_num_threads(before)
    assert all(torch.equal(one, two) for one, two in zip(*results, strict=True))


def test_creases_split_where_the_surface_bends_and_nowhere_else() -> None:
    surface, faces = bumpy_sphere(40, 60)
    vertices, same = split_at_creases(surface, faces, crease_deg=45.0)
    assert len(vertices) == len(surface) and torch.equal(vertices[same], surface[faces])
    vertices, split = split_at_creases(surface, faces, crease_deg=1.0)
    assert len(vertices) > 2 * len(surface) and torch.equal(vertices[split], surface[faces])
    assert has_border(surface, faces[1:]) and not has_border(vertices, split)


def test_triangles_back_to_back_go_and_nothing_else():
    pillow = torch.tensor([[8, 10, 9], [9, 10, 8], [9, 8, 10], [10, 8, 9]])  # twice there and back
    kept = drop_opposite(torch.cat([pillow[:2], CUBE_FACES, pillow[2:], CUBE_FACES[:1]]))
    assert kept.tolist() == [*CUBE_FACES.tolist(), CUBE_FACES[0].tolist()]
    assert drop_opposite(torch.zeros(0, 3, dtype=torch.int64)).shape == (0, 3)


def test_normals_that_cancel_are_those_of_one_side():
    """A sheet with triangles on both sides has a normal, of which lights and exporters need one."""
    sheet = torch.tensor([[0, 1, 3], [0, 3, 2]])
    normals = vertex_normals(CUBE.float(), torch.cat([sheet, sheet[:, [0, 2, 1]]]))[:4]
    assert (normals[:, 0].abs() == 1).all()
    assert (normals[:, 1:] == 0).all()
