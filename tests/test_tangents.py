"""MikkTSpace tangents: closed forms in glTF's conventions, and the reference implementation (npm mikktspace)."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from pipeline.geometry.normals import vertex_normals
from pipeline.geometry.tangents import mikktspace_tangents
from pipeline.scene import Mesh
from tests.shapes import sphere

GENERATE = """
const fs = require("fs"), {generateTangents} = require(process.argv[1] + "/node_modules/mikktspace");
const arrays = ["positions", "normals", "uvs"].map((name) => {
  const bytes = fs.readFileSync(process.argv[2] + "/" + name);
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
});
fs.writeFileSync(process.argv[2] + "/tangents", Buffer.from(generateTangents(...arrays).buffer));
"""


@pytest.fixture
def reference(tmp_path):
    """The reference's tangents; needs node and RECON_MIKKTSPACE, the folder of the npm package."""
    folder, node = os.environ.get("RECON_MIKKTSPACE", ""), shutil.which("node")
    if node is None or not folder or not Path(folder, "node_modules", "mikktspace").is_dir():
        pytest.skip("node, or the package mikktspace in $RECON_MIKKTSPACE/node_modules, is missing")

    def run(mesh, normals):
        arrays = {
            "positions": mesh.vertices[mesh.faces],
            "normals": normals[mesh.faces],
            "uvs": mesh.uvs[mesh.uv_faces],
        }
        for name, corners in arrays.items():
            (tmp_path / name).write_bytes(corners.float().numpy().astype("<f4").tobytes())
        subprocess.run([node, "-e", GENERATE, str(Path(folder).resolve()), str(tmp_path)], check=True)
        raw = torch.from_numpy(np.fromfile(tmp_path / "tangents", "<f4").reshape(-1, 3, 4))
        return raw * torch.tensor([1.0, 1.0, 1.0, -1.0])  # its w is that of v up

    return run


def quad(uvs):
    """A unit square in the xy plane, facing +z; corners counter-clockwise from the origin."""
    corners = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    return Mesh(vertices=corners, faces=faces, uvs=torch.tensor(uvs), uv_faces=faces)


UPRIGHT = [[0.0, 1.0], [1.0, 1.0], [1.0, 0.0], [0.0, 0.0]]  # u along +x, v down along -y
MIRRORED = [[1.0, 1.0], [0.0, 1.0], [0.0, 0.0], [1.0, 0.0]]
TURNED = [[1.0, 1.0], [1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]  # u along -y, v down along -x


def facing_z(mesh):
    return torch.tensor([0.0, 0.0, 1.0]).expand(len(mesh.vertices), 3)


def joined(*meshes):
    """Meshes side by side in one, each at its own place in z."""
    parts = list(enumerate(meshes))
    vertices = [m.vertices + torch.tensor([0.0, 0.0, 2.0 * k]) for k, m in parts]
    starts = np.cumsum([0, *(len(m.vertices) for m in meshes)])
    uv_starts = np.cumsum([0, *(len(m.uvs) for m in meshes)])
    return Mesh(
        vertices=torch.cat(vertices),
        faces=torch.cat([m.faces + int(starts[k]) for k, m in parts]),
        uvs=torch.cat([m.uvs for m in meshes]),
        uv_faces=torch.cat([m.uv_faces + int(uv_starts[k]) for k, m in parts]),
    )


def mirrored_pair():
    """Two squares that share an edge and its texture coordinates, the second a mirror image of the first."""
    vertices = torch.tensor([[x, y, 0.0] for y in (0.0, 1.0) for x in (0.0, 1.0, 2.0)])
    faces = torch.tensor([[0, 1, 4], [0, 4, 3], [1, 2, 5], [1, 5, 4]])
    uvs = torch.stack([1 - (vertices[:, 0] - 1).abs(), 1 - vertices[:, 1]], 1)
    return Mesh(vertices=vertices, faces=faces, uvs=uvs, uv_faces=faces)


def seamed_sphere(columns=24, rows=12):
    """Longitude and latitude with a seam, and at each pole a fan of corners with one u each."""
    u, v = torch.meshgrid(torch.linspace(0, 1, columns + 1), torch.linspace(0, 1, rows + 1), indexing="ij")
    uvs = torch.stack([u, v], -1).reshape(-1, 2)
    longitude, latitude = uvs[:, 0] * 2 * torch.pi, uvs[:, 1] * torch.pi
    points = torch.stack(
        [latitude.sin() * longitude.sin(), latitude.cos(), latitude.sin() * longitude.cos()], -1
    ).round(decimals=6)
    vertices, place = points.unique(dim=0, return_inverse=True)
    a = torch.arange(columns * (rows + 1)).reshape(columns, rows + 1)[:, :-1].reshape(-1)
    faces = torch.cat([torch.stack([a, a + 1, a + rows + 2], 1), torch.stack([a, a + rows + 2, a + rows + 1], 1)])
    flat = (place[faces] == place[faces.roll(1, 1)]).any(1)
    return Mesh(vertices=vertices, faces=place[faces[~flat]], uvs=uvs, uv_faces=faces[~flat])


def bumpy(seed=0):
    """A smooth, irregular closed surface, its texture coordinates seen along z: mirrored behind."""
    vertices, faces = sphere(13)
    unit = normalize(vertices.float(), dim=1)
    waves = torch.sin(unit @ torch.randn(3, 8, generator=torch.Generator().manual_seed(seed)) * 3).mean(1)
    vertices = unit * (1 + 0.3 * waves[:, None])
    return Mesh(vertices=vertices, faces=faces, uvs=vertices[:, :2] * 0.4 + 0.5, uv_faces=faces)


@pytest.mark.parametrize(
    ("uvs", "tangent", "w"), [(UPRIGHT, [1, 0, 0], 1), (MIRRORED, [-1, 0, 0], -1), (TURNED, [0, -1, 0], 1)]
)
def test_the_frame_of_a_square_points_along_u_and_up_in_the_texture(uvs, tangent, w):
    mesh = quad(uvs)
    tangents = mikktspace_tangents(mesh, facing_z(mesh))
    torch.testing.assert_close(tangents, torch.tensor([*tangent, w]).float().expand(2, 3, 4))
    texture = torch.tensor(uvs)
    up = (texture[:, 1] == 0).float() @ mesh.vertices - (texture[:, 1] == 1).float() @ mesh.vertices
    bitangent = w * torch.linalg.cross(torch.tensor([0.0, 0.0, 1.0]), tangents[0, 0, :3])
    torch.testing.assert_close(bitangent, up / 2)


def test_a_mirrored_pair_splits_at_the_mirror():
    mesh = mirrored_pair()
    tangents = mikktspace_tangents(mesh, facing_z(mesh))
    expected = torch.tensor([[1.0, 0, 0, 1], [1, 0, 0, 1], [-1, 0, 0, -1], [-1, 0, 0, -1]])
    torch.testing.assert_close(tangents, expected[:, None].expand(4, 3, 4))


def test_sphere_tangents_run_east():
    mesh = seamed_sphere(64, 32)
    tangents = mikktspace_tangents(mesh, mesh.vertices)
    corner = mesh.vertices[mesh.faces]
    east = torch.stack([corner[..., 2], torch.zeros(corner.shape[:2]), -corner[..., 0]], -1)
    away = corner[..., 1].abs() < 0.99
    assert (tangents[..., :3] * normalize(east, dim=-1)).sum(-1)[away].min() > 0.995
    assert (tangents[..., 3] == 1).all()


@pytest.mark.parametrize("seam", [False, True])
def test_equal_values_join_under_other_indices(seam):
    """Corners join by value: splitting every vertex changes nothing."""
    mesh = seamed_sphere() if seam else bumpy()
    normals = vertex_normals(mesh.vertices, mesh.faces)
    own = torch.arange(3 * len(mesh.faces)).reshape(-1, 3)
    corners, corner_uvs = mesh.vertices[mesh.faces].reshape(-1, 3), mesh.uvs[mesh.uv_faces].reshape(-1, 2)
    split = Mesh(vertices=corners, faces=own, uvs=corner_uvs, uv_faces=own)
    tangents = mikktspace_tangents(split, normals[mesh.faces].reshape(-1, 3))
    torch.testing.assert_close(tangents, mikktspace_tangents(mesh, normals))


def degenerate():
    """A square with one triangle flat in the texture, one flat in space, and one that hangs on nothing."""
    square = quad(UPRIGHT)
    faces = torch.tensor([[0, 1, 2], [0, 2, 3], [3, 2, 4], [1, 1, 2], [5, 6, 7]])
    more = torch.tensor([[0.5, 2.0, 0.0], [5.0, 0.0, 0.0], [6.0, 0.0, 0.0], [6.0, 1.0, 0.0]])
    uvs = torch.cat([square.uvs, torch.tensor([[0.5, 0.0], [0.3, 0.3]])])
    uv_faces = torch.tensor([[0, 1, 2], [0, 2, 3], [3, 2, 4], [1, 1, 2], [5, 5, 5]])
    return Mesh(vertices=torch.cat([square.vertices, more]), faces=faces, uvs=uvs, uv_faces=uv_faces)


def test_degenerate_triangles_take_their_neighbours_tangents():
    mesh = degenerate()
    tangents = mikktspace_tangents(mesh, facing_z(mesh))
    known = torch.tensor([1.0, 0, 0, 1])
    torch.testing.assert_close(tangents[:2], known.expand(2, 3, 4))
    torch.testing.assert_close(tangents[2, :2], known.expand(2, 4))
    torch.testing.assert_close(tangents[3], known.expand(3, 4))
    torch.testing.assert_close(tangents[..., :3].norm(dim=-1), torch.ones(5, 3))
    torch.testing.assert_close(tangents[..., 2], torch.zeros(5, 3))


def test_hopeless_meshes_give_unit_vectors():
    mesh = quad([[0.5, 0.5]] * 4)
    for normals in (facing_z(mesh), torch.zeros(4, 3)):
        tangents = mikktspace_tangents(mesh, normals)
        torch.testing.assert_close(tangents[..., :3].norm(dim=-1), torch.ones(2, 3))
    empty = Mesh(vertices=mesh.vertices, faces=mesh.faces[:0], uvs=mesh.uvs, uv_faces=mesh.faces[:0])
    assert mikktspace_tangents(empty, facing_z(mesh)).shape == (0, 3, 4)
    with pytest.raises(ValueError, match="texture coordinates"):
        mikktspace_tangents(Mesh(vertices=mesh.vertices, faces=mesh.faces), facing_z(mesh))


@pytest.mark.parametrize(
    "make", [lambda: joined(quad(UPRIGHT), quad(MIRRORED), quad(TURNED)), mirrored_pair, seamed_sphere, bumpy]
)
def test_tangents_equal_the_reference(reference, make):
    mesh = make()
    normals = vertex_normals(mesh.vertices, mesh.faces)
    tangents = mikktspace_tangents(mesh, normals)
    torch.testing.assert_close(tangents, reference(mesh, normals), atol=1e-4, rtol=0)  # the reference is in float32


def test_degenerate_triangles_do_as_in_the_reference(reference):
    mesh = degenerate()
    normals = facing_z(mesh)
    tangents, expected = mikktspace_tangents(mesh, normals), reference(mesh, normals)
    torch.testing.assert_close(tangents[:4], expected[:4], atol=1e-4, rtol=0)
