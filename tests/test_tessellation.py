"""Short edges, and nothing else new: shape, attributes and seams stay."""

import torch
from torch.nn.functional import normalize

from pipeline.geometry.tangents import mikktspace_tangents
from pipeline.geometry.tessellation import tessellated
from pipeline.scene import Mesh
from tests.shapes import area


def prism():
    """A closed, irregular tetrahedron whose sides are separate charts."""
    vertices = torch.tensor([[0.0, 0.0, 0.0], [2.0, 0.0, 0.1], [0.3, 1.0, 0.0], [0.2, 0.1, 0.4]])
    faces = torch.tensor([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])
    uvs = torch.rand(12, 2)
    return Mesh(vertices=vertices, faces=faces, uvs=uvs, uv_faces=torch.arange(12).reshape(4, 3))


def edges(faces):
    return torch.stack([faces, faces.roll(-1, 1)], -1).reshape(-1, 2)


def test_edges_become_short_and_the_surface_stays_closed_and_oriented():
    mesh = prism()
    fine, _, _ = tessellated(mesh, normalize(mesh.vertices, dim=1), longest=0.1)
    ends = fine.vertices[edges(fine.faces)]
    assert (ends[:, 0] - ends[:, 1]).norm(dim=1).max() <= 0.1
    directed = {tuple(e) for e in edges(fine.faces).tolist()}
    assert len(directed) == 3 * len(fine.faces) and all((b, a) in directed for a, b in directed)
    assert len(fine.vertices) - len(directed) // 2 + len(fine.faces) == 2  # Euler's number of a sphere
    assert abs(area(fine.vertices.double(), fine.faces) - area(mesh.vertices.double(), mesh.faces)) < 1e-5


def test_all_values_are_interpolated_linearly():
    """On each side of the prism, every value is one affine function of the position, before and after."""
    mesh = prism()
    normals = normalize(mesh.vertices - mesh.vertices.mean(0), dim=1)
    tangents = mikktspace_tangents(mesh, normals)
    fine, fine_normals, fine_tangents = tessellated(mesh, normals, tangents, longest=0.2)
    centers = fine.vertices[fine.faces].mean(1)
    planes = [torch.linalg.cross(v[1] - v[0], v[2] - v[0]) for v in mesh.vertices[mesh.faces]]
    sides = torch.stack(
        [((centers - mesh.vertices[f[0]]) @ normalize(n, dim=0)).abs() for f, n in zip(mesh.faces, planes, strict=True)]
    )
    for k in range(4):
        own = sides.argmin(0) == k
        corner, there = mesh.vertices[mesh.faces[k]], fine.vertices[fine.faces[own]].reshape(-1, 3)
        weights = torch.linalg.lstsq(
            torch.cat([corner.T, torch.ones(1, 3)]), torch.cat([there.T, torch.ones(1, len(there))])
        ).solution.T
        for before, after in (
            (mesh.uvs[mesh.uv_faces[k]], fine.uvs[fine.uv_faces[own]].reshape(-1, 2)),
            (normals[mesh.faces[k]], fine_normals[fine.faces[own]].reshape(-1, 3)),
            (tangents[k], fine_tangents[own].reshape(-1, 4)),
        ):
            torch.testing.assert_close(weights @ before, after, atol=1e-4, rtol=0)


def test_a_fine_mesh_stays_as_it_is():
    mesh = prism()
    fine, normals, tangents = tessellated(mesh, mesh.vertices, longest=10.0)
    assert torch.equal(fine.faces, mesh.faces) and torch.equal(normals, mesh.vertices) and tangents is None
    bare, _, _ = tessellated(Mesh(vertices=mesh.vertices, faces=mesh.faces), mesh.vertices, longest=0.5)
    assert bare.uvs is None and len(bare.faces) > 4
