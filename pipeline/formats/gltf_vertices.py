"""From a mesh with separate texture coordinates to glTF's vertices: the only place where seams are split."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from pipeline.errors import ReconError
from pipeline.scene import Mesh

# Twice the area of a triangle against the squared diagonal of the mesh; smaller ones are slivers without a normal.
_DEGENERATE = 1e-12


def split_at_seams(
    mesh: Mesh, normals: Float[Tensor, "vertices 3"], tangents: Float[Tensor, "faces 3 4"] | None, path: Path
) -> tuple[Int64[np.ndarray, "kept 3"], dict[str, Float32[np.ndarray, "corners _"]]]:
    """Triangles that have an area, over vertices of which each has one position, normal, uv and tangent.

    Returns:
        The triangles, and glTF's attributes by name; vertices stand in the order of their first use.

    Raises:
        ReconError: When a value is not finite, or no triangle has an area; `path` is for the message.
    """
    if mesh.uvs is None or mesh.uv_faces is None:
        raise ReconError("a mesh without texture coordinates cannot be written", path=path)
    positions, uvs = _finite(mesh.vertices, "positions", path), _finite(mesh.uvs, "texture coordinates", path)
    faces = mesh.faces.cpu().numpy().astype(np.int64)
    unit_normals = _unit(_finite(normals, "normals", path), positions, faces)
    double_areas = np.linalg.norm(cross_products(positions, faces), axis=1)
    kept = double_areas > _DEGENERATE * float((np.ptp(positions.astype(np.float64), axis=0) ** 2).sum())
    if not kept.any():
        raise ReconError(f"none of {len(faces)} triangles has an area", path=path)
    indices = [faces, mesh.uv_faces.cpu().numpy().astype(np.int64)]
    if tangents is not None:
        rows, inverse = np.unique(_finite(tangents.flatten(0, 1), "tangents", path), axis=0, return_inverse=True)
        indices.append(inverse.reshape(-1, 3))
    corners = np.stack(indices, -1)[kept].reshape(-1, len(indices))
    first, joined = first_of_equal(corners)
    chosen = corners[first]
    attributes = {"POSITION": positions[chosen[:, 0]], "NORMAL": unit_normals[chosen[:, 0]]}
    if tangents is not None:
        attributes["TANGENT"] = rows[chosen[:, 2]]
    return joined.reshape(-1, 3), {**attributes, "TEXCOORD_0": uvs[chosen[:, 1]]}


def first_of_equal(
    rows: Float[np.ndarray, "rows _"] | Int64[np.ndarray, "rows _"],
) -> tuple[Int64[np.ndarray, "unique"], Int64[np.ndarray, "rows"]]:
    """Index of the first of each set of equal rows, in their order, and for each row its place among those."""
    _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[inverse.reshape(-1)]


def cross_products(
    positions: Float[np.ndarray, "corners 3"], faces: Int64[np.ndarray, "faces 3"]
) -> Float[np.ndarray, "faces 3"]:
    """Normal of each triangle, twice its area long."""
    a, b, c = (positions[faces[:, i]].astype(np.float64) for i in range(3))
    return np.cross(b - a, c - a)


def area_weighted_normals(
    positions: Float[np.ndarray, "corners 3"], faces: Int64[np.ndarray, "faces 3"]
) -> Float[np.ndarray, "corners 3"]:
    """Unit normals from the triangles around each vertex, weighted by area; +Y where they cancel."""
    per_face = cross_products(positions, faces)
    sums = np.zeros(positions.shape)
    for i in range(3):
        np.add.at(sums, faces[:, i], per_face)
    length = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.where(length > 0, sums / np.maximum(length, 1e-300), [0.0, 1.0, 0.0])


def _unit(
    normals: Float32[np.ndarray, "vertices 3"],
    positions: Float32[np.ndarray, "vertices 3"],
    faces: Int64[np.ndarray, "faces 3"],
) -> Float32[np.ndarray, "vertices 3"]:
    """Unit normals; a vertex without one takes that of its triangles."""
    length = np.linalg.norm(normals.astype(np.float64), axis=1, keepdims=True)
    unit = normals / np.maximum(length, 1e-12)
    missing = length[:, 0] < 1e-12
    if missing.any():
        unit[missing] = area_weighted_normals(positions, faces)[missing]
    return unit.astype(np.float32)


def _finite(values: Float[Tensor, "rows columns"], what: str, path: Path) -> Float32[np.ndarray, "rows columns"]:
    array = values.detach().cpu().numpy().astype(np.float32)
    if not np.isfinite(array).all():
        raise ReconError(f"a mesh with {what} that are not finite cannot be written", path=path)
    return array
