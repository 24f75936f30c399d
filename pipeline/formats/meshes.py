"""Meshes that a user brings: GLB, OBJ and PLY, read as triangles with texture coordinates and nothing else."""

import dataclasses
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float64, Int64

from pipeline.errors import InputError, UsageError
from pipeline.formats.files import read_regular
from pipeline.formats.gltf import read_gltf
from pipeline.formats.gltf_vertices import cross_products, first_of_equal
from pipeline.frames import uv_from_bottom_left
from pipeline.geometry.mesh_ops import split_at_creases
from pipeline.scene import Mesh

if TYPE_CHECKING:
    import trimesh

SUFFIXES = (".glb", ".gltf", ".obj", ".ply")
CREASE_DEG = 45.0
_MAX_BYTES = 2**31
_DEGENERATE = 1e-12  # twice a triangle's area against the squared diagonal of the mesh
# All that trimesh's parsers were seen to raise on damaged files.
_PARSER_ERRORS = (ValueError, LookupError, TypeError, AttributeError, OverflowError, OSError, EOFError, MemoryError)


@dataclass(frozen=True, eq=False, kw_only=True)
class MeshFile:
    """A mesh that came in a file, in the file's frame.

    Attributes:
        path: The file, for messages.
        sha256: Hash of its content.
        mesh: Its triangles. Vertices with equal position and normal are joined, so hard edges stay hard; in a file
            without normals, edges sharper than 45 degrees are.
        degenerate: Triangles without an area, which were left out.
    """

    path: Path
    sha256: str
    mesh: Mesh
    degenerate: int


def read_mesh(path: Path) -> MeshFile:
    """Read the triangles of a GLB, glTF, OBJ or PLY file, polygons cut into triangles.

    Raises:
        UsageError: When there is no such file, or its name says that it is of another kind.
        InputError: When the file is damaged, or holds no triangle with an area.
    """
    remedy = f"name a file with geometry.mesh=FILE ({', '.join(SUFFIXES)})"
    if not path.exists():
        raise UsageError("does not exist", path=path, remedy=remedy)
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"is no mesh by its name ({path.suffix or 'no ending'})", path=path, remedy=remedy)
    data = read_regular(path, max_bytes=_MAX_BYTES)
    if path.suffix.lower() in (".glb", ".gltf"):
        mesh, hard = read_gltf(path).asset.mesh, True
    else:
        mesh, hard = _parsed(data, path)
    mesh, degenerate = _checked(mesh, path)
    if not hard:
        vertices, faces = split_at_creases(mesh.vertices, mesh.faces, crease_deg=CREASE_DEG)
        mesh = dataclasses.replace(mesh, vertices=vertices, faces=faces)
    return MeshFile(path=path, sha256=hashlib.sha256(data).hexdigest(), mesh=mesh, degenerate=degenerate)


def _parsed(data: bytes, path: Path) -> tuple[Mesh, bool]:
    """An OBJ or PLY file by trimesh, which gets bytes and so opens no other file; and whether it tells normals."""
    import trimesh  # takes a second, and few runs bring a mesh

    kind = path.suffix.lower().removeprefix(".")
    try:
        loaded = trimesh.load_scene(io.BytesIO(data), file_type=kind, process=False, skip_materials=True)
        parts = [part for part in loaded.geometry.values() if isinstance(part, trimesh.Trimesh) and len(part.faces)]
    except _PARSER_ERRORS as error:
        raise InputError(f"is not a valid {kind.upper()} file: {type(error).__name__}: {error}", path=path) from error
    if not parts:
        raise InputError("holds no triangles", path=path, remedy="export the surface, not points or lines")
    uvs = [getattr(part.visual, "uv", None) for part in parts]
    starts = np.cumsum([0] + [len(part.vertices) for part in parts])
    mesh = _joined(
        np.concatenate([np.asarray(part.vertices, np.float64) for part in parts]),
        np.concatenate([_written_normals(part) for part in parts]),
        None if any(uv is None for uv in uvs) else np.concatenate([np.asarray(uv, np.float64)[:, :2] for uv in uvs]),
        np.concatenate([np.asarray(p.faces, np.int64) + s for p, s in zip(parts, starts, strict=False)]),
    )
    return mesh, all("vertex_normals" in part._cache for part in parts)


def _written_normals(part: "trimesh.Trimesh") -> Float64[np.ndarray, "corners 3"]:
    """The normals that stand in the file; zero without, so that vertices join by their position alone."""
    if "vertex_normals" in part._cache:  # asked otherwise, trimesh makes some up
        return np.asarray(part.vertex_normals, np.float64)
    return np.zeros((len(part.vertices), 3))


def _joined(
    positions: Float64[np.ndarray, "corners 3"],
    normals: Float64[np.ndarray, "corners 3"],
    uvs: Float64[np.ndarray, "corners 2"] | None,
    faces: Int64[np.ndarray, "faces 3"],
) -> Mesh:
    """A mesh whose vertices are not split at texture seams; `uvs` start at the bottom left."""
    kept, joined = first_of_equal(np.concatenate([positions, normals], 1).astype(np.float32))
    known = faces.clip(0, len(positions) - 1)  # what lies outside is told by `_checked`
    mesh = Mesh(
        vertices=torch.tensor(positions[kept], dtype=torch.float32),
        faces=torch.tensor(np.where(faces == known, joined[known], -1)),
    )
    if uvs is None:
        return mesh
    return Mesh(
        vertices=mesh.vertices,
        faces=mesh.faces,
        uvs=uv_from_bottom_left(torch.tensor(uvs, dtype=torch.float32)),
        uv_faces=torch.tensor(known),
    )


def _checked(mesh: Mesh, path: Path) -> tuple[Mesh, int]:
    """The mesh without triangles that have no area, and how many these were; broken numbers are refused."""
    if not bool(torch.isfinite(mesh.vertices).all()):
        raise InputError("holds positions that are not finite", path=path)
    if int(mesh.faces.min()) < 0 or int(mesh.faces.max()) >= len(mesh.vertices):
        raise InputError(f"holds triangles of vertices past its {len(mesh.vertices)}", path=path)
    positions, faces = mesh.vertices.double().numpy(), mesh.faces.numpy()
    least = _DEGENERATE * float((np.ptp(positions, axis=0) ** 2).sum())
    kept = torch.from_numpy(np.linalg.norm(cross_products(positions, faces), axis=1) > least)
    if not bool(kept.any()):
        raise InputError(f"none of its {len(faces)} triangles has an area", path=path)
    used, renumbered = torch.unique(mesh.faces[kept], return_inverse=True)
    uvs = uv_faces = None
    if mesh.uvs is not None and mesh.uv_faces is not None and bool(torch.isfinite(mesh.uvs).all()):
        uv_used, uv_faces = torch.unique(mesh.uv_faces[kept], return_inverse=True)
        uvs = mesh.uvs[uv_used]
    checked = Mesh(vertices=mesh.vertices[used], faces=renumbered, uvs=uvs, uv_faces=uv_faces)
    return checked, int((~kept).sum())
