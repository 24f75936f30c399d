"""Shading normals without the ripples of the grid, but with the edges of the object."""

import torch
from torch.nn.functional import normalize

from pipeline.geometry.marching_tetrahedra import marching_tetrahedra
from pipeline.geometry.normals import filtered_normals, shading_normals, vertex_normals
from pipeline.scene import Mesh
from tests.shapes import grid, points, sphere


def degrees(a, b):
    return torch.rad2deg(torch.arccos((a * b).sum(-1).clamp(-1, 1)))


def rippled(vertices, sigma, seed=0):
    noise = torch.randn(len(vertices), 1, generator=torch.Generator().manual_seed(seed), dtype=vertices.dtype)
    return vertices + sigma * noise * normalize(vertices, dim=-1)


def test_ripples_go_and_the_ball_stays_round():
    vertices, faces = sphere(resolution=49)
    spacing = 2.6 / 48
    rough, truth = rippled(vertices, 0.01 * spacing), normalize(vertices, dim=-1)
    before = degrees(vertex_normals(rough, faces), truth).mean()
    after = degrees(filtered_normals(rough, faces, reach=spacing), truth).mean()
    assert float(after) < 0.85 * float(before)  # 4.4 of 5.8 degrees, in triangles of all shapes


def test_edges_of_a_box_stay():
    where = grid(33)
    box = (points(where).abs() - torch.tensor([0.8, 0.6, 0.7])).amax(-1)
    vertices, faces = marching_tetrahedra(box, where)
    normals, filtered = vertex_normals(vertices, faces), filtered_normals(vertices, faces, reach=where.spacing)
    flat = (box.new_tensor([0.8, 0.6, 0.7]) - vertices.abs()).sort(-1).values[:, 1] > 4 * where.spacing
    assert float(degrees(filtered, normals)[flat].max()) < 0.1
    edge = ~flat
    assert float(degrees(filtered, normals)[edge].mean()) < 6


def test_a_mesh_is_shaded_with_its_own_normals_where_it_has_some():
    vertices, faces = sphere(resolution=17)
    own = normalize(vertices + 0.1, dim=-1)
    assert torch.equal(shading_normals(Mesh(vertices=vertices, faces=faces, normals=own)), own)
    bare = shading_normals(Mesh(vertices=vertices, faces=faces))
    assert torch.equal(bare, vertex_normals(vertices, faces))
