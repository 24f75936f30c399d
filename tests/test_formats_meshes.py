"""Meshes of users: each format gives the same surface and texture coordinates, and damaged files are told."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.errors import InputError, UsageError
from pipeline.formats.gltf import write_glb
from pipeline.formats.meshes import read_mesh
from pipeline.geometry.normals import vertex_normals
from pipeline.scene import Asset, Material, Mesh

# A roof over a floor: two charts side by side; the ridge (vertices 1 and 4) is not a seam, the eaves are.
ROOF = torch.tensor([[0.0, 0, 0], [1, 0.2, 0], [2, 0, 0], [0, 0, 3], [1, 0.2, 3], [2, 0, 3]])
FACES = torch.tensor([[0, 4, 1], [0, 3, 4], [1, 5, 2], [1, 4, 5], [0, 2, 5], [0, 5, 3]])
UVS = torch.tensor(
    [
        [0.1, 0.1],
        [0.3, 0.1],
        [0.5, 0.1],
        [0.1, 0.9],
        [0.3, 0.9],
        [0.5, 0.9],
        [0.6, 0.2],
        [0.9, 0.2],
        [0.9, 0.9],
        [0.6, 0.9],
    ]
)
UV_FACES = torch.tensor([[0, 4, 1], [0, 3, 4], [1, 5, 2], [1, 4, 5], [6, 7, 8], [6, 8, 9]])


def roof(*, uvs: bool = True) -> Mesh:
    return Mesh(vertices=ROOF, faces=FACES, uvs=UVS if uvs else None, uv_faces=UV_FACES if uvs else None)


def write_obj(mesh: Mesh, path: Path) -> Path:
    """By the format's document: indices from 1, vt from the bottom left."""
    lines = [f"v {x:.9g} {y:.9g} {z:.9g}" for x, y, z in mesh.vertices.tolist()]
    if mesh.uvs is not None:
        lines += [f"vt {u:.9g} {1 - v:.9g}" for u, v in mesh.uvs.tolist()]
    for k, face in enumerate(mesh.faces.tolist()):
        texture = [""] * 3 if mesh.uv_faces is None else [f"/{i + 1}" for i in mesh.uv_faces[k].tolist()]
        lines.append("f " + " ".join(f"{i + 1}{t}" for i, t in zip(face, texture, strict=True)))
    path.write_text("mtllib missing.mtl\no roof\n" + "\n".join(lines) + "\n")
    return path


def write_ply(mesh: Mesh, path: Path) -> Path:
    """ASCII, with vertices split at seams and s, t from the bottom left, as Blender writes them."""
    rows, faces, kinds = [], mesh.faces, ["x", "y", "z"]
    if mesh.uvs is None or mesh.uv_faces is None:
        rows = mesh.vertices.tolist()
    else:
        kinds += ["s", "t"]
        pairs = torch.stack([mesh.faces, mesh.uv_faces], -1).reshape(-1, 2)
        unique, inverse = torch.unique(pairs, dim=0, return_inverse=True)
        faces = inverse.reshape(-1, 3)
        for v, t in unique.tolist():
            u, down = mesh.uvs[t].tolist()
            rows.append([*mesh.vertices[v].tolist(), u, 1 - down])
    head = ["ply", "format ascii 1.0", f"element vertex {len(rows)}", *(f"property float {k}" for k in kinds)]
    head += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header"]
    body = [" ".join(f"{x:.9g}" for x in row) for row in rows] + [f"3 {a} {b} {c}" for a, b, c in faces.tolist()]
    path.write_text("\n".join(head + body) + "\n")
    return path


def write_gltf_binary(mesh: Mesh, path: Path) -> Path:
    grey = torch.full((4, 4, 3), 0.5)
    asset = Asset(mesh=mesh, material=Material(base_color=grey, orm=grey))
    write_glb(asset, vertex_normals(mesh.vertices, mesh.faces), path)
    return path


WRITERS = {"mesh.glb": write_gltf_binary, "mesh.obj": write_obj, "mesh.PLY": write_ply}


def corner_table(mesh: Mesh) -> np.ndarray:
    """Every triangle's corners with their texture coordinates, in an order of its own."""
    corners = mesh.vertices[mesh.faces]
    if mesh.uvs is not None and mesh.uv_faces is not None:
        corners = torch.cat([corners, mesh.uvs[mesh.uv_faces]], -1)
    table = corners.numpy().round(5)
    first = [min(range(3), key=lambda k, t=t: tuple(t[k])) for t in table]
    turned = np.array([np.roll(t, -k, 0).ravel() for t, k in zip(table, first, strict=True)])
    return turned[np.lexsort(turned.T)]


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_surface_and_coordinates(name: str, tmp_path: Path) -> None:
    read = read_mesh(WRITERS[name](roof(), tmp_path / name))
    np.testing.assert_allclose(corner_table(read.mesh), corner_table(roof()), atol=1e-5)
    assert len(read.mesh.vertices) == (6 if "glb" in name else 10)  # its eaves are sharp
    assert len(read.mesh.uvs) == 10
    assert read.degenerate == 0


@pytest.mark.parametrize("name", ["mesh.obj", "mesh.PLY"])
def test_a_file_without_coordinates_has_none(name: str, tmp_path: Path) -> None:
    read = read_mesh(WRITERS[name](roof(uvs=False), tmp_path / name))
    assert read.mesh.uvs is None and read.mesh.uv_faces is None
    np.testing.assert_allclose(corner_table(read.mesh), corner_table(roof(uvs=False)))


def test_the_hash_is_that_of_the_content(tmp_path: Path) -> None:
    one, same = (read_mesh(write_obj(roof(), tmp_path / n)).sha256 for n in ("a.obj", "b.obj"))
    other = read_mesh(write_obj(roof(uvs=False), tmp_path / "c.obj")).sha256
    assert one == same != other


def test_hard_edges_stay_hard_and_polygons_are_cut(tmp_path: Path) -> None:
    """A cube of quads whose corners have one normal per side, or per vertex, or none: sharp edges are hard then."""
    points = [(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    sides = [(-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1)]
    text = "".join(f"v {x} {y} {z}\n" for x, y, z in points) + "".join(f"vn {x} {y} {z}\n" for x, y, z in sides)
    hard = text + "".join(f"f {' '.join(f'{i + 1}//{k + 1}' for i in quad)}\n" for k, quad in enumerate(quads))
    (tmp_path / "hard.obj").write_text(hard)
    mesh = read_mesh(tmp_path / "hard.obj").mesh
    assert (len(mesh.vertices), len(mesh.faces)) == (24, 12)
    normals = vertex_normals(mesh.vertices, mesh.faces)
    assert torch.allclose(normals.abs().amax(1), torch.ones(24), atol=1e-6)
    (tmp_path / "none.obj").write_text(text + "".join(f"f {' '.join(str(i + 1) for i in quad)}\n" for quad in quads))
    assert len(read_mesh(tmp_path / "none.obj").mesh.vertices) == 24
    soft = text + "".join(f"vn {2 * x - 1} {2 * y - 1} {2 * z - 1}\n" for x, y, z in points)
    soft += "".join(f"f {' '.join(f'{i + 1}//{i + 7}' for i in quad)}\n" for quad in quads)
    (tmp_path / "soft.obj").write_text(soft)
    assert len(read_mesh(tmp_path / "soft.obj").mesh.vertices) == 8


def test_triangles_without_an_area_are_left_out(tmp_path: Path) -> None:
    needle = Mesh(
        vertices=torch.cat([ROOF, torch.tensor([[9.0, 9, 9]])]), faces=torch.cat([FACES, torch.tensor([[0, 1, 1]])])
    )
    read = read_mesh(write_obj(needle, tmp_path / "needle.obj"))
    assert (len(read.mesh.faces), read.degenerate) == (6, 1)
    assert float(read.mesh.vertices.max()) == 3  # what no triangle uses is no part of the surface


def _points_ply() -> str:
    head = ["ply", "format ascii 1.0", "element vertex 1", *(f"property float {k}" for k in "xyz"), "end_header"]
    return "\n".join(head) + "\n0 0 0\n"


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("empty.ply", "", "is empty (0 bytes)"),
        ("points.ply", _points_ply(), "holds no triangles"),
        ("points.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\n", "holds no triangles"),
        ("lines.obj", "v 0 0 0\nv 1 0 0\nl 1 2\n", "holds no triangles"),
        ("flat.obj", "v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n", "none of its 1 triangles has an area"),
        ("past.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n", "past"),
        ("nan.obj", "v 0 0 nan\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "not finite"),
        ("words.ply", "these are words", "is not a valid PLY file"),
        ("words.glb", "these are words", "is not a GLB file"),
    ],
)
def test_files_without_a_surface_are_refused(name: str, content: str, told: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=name) as caught:
        read_mesh(tmp_path / name)
    assert told in str(caught.value)


def test_names_that_are_no_mesh_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"missing.obj: does not exist \(name a file with geometry.mesh=FILE"):
        read_mesh(tmp_path / "missing.obj")
    (tmp_path / "mesh.stl").write_text("solid")
    with pytest.raises(UsageError, match=r"is no mesh by its name \(.stl\)"):
        read_mesh(tmp_path / "mesh.stl")


@pytest.mark.parametrize("name", WRITERS)
def test_truncated_files_are_read_or_refused_but_never_crash(name: str, tmp_path: Path) -> None:
    whole = WRITERS[name](roof(), tmp_path / name).read_bytes()
    refused = 0
    for length in range(1, len(whole), max(1, len(whole) // 60)):
        (tmp_path / f"cut{name}").write_bytes(whole[:length])
        try:
            read_mesh(tmp_path / f"cut{name}")
        except InputError:
            refused += 1
    assert refused > 10
