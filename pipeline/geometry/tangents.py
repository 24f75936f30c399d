"""MikkTSpace tangents: the tangent frame that tools which bake normal maps and engines agree on.

After M. Mikkelsen, "Simulation of Wrinkled Surfaces Revisited" (2008), section 3.3 and appendix. Corners belong
together when they have one position, normal and texture coordinate (by value) and edges lead from one to the next
without a change of orientation in the texture. A group's tangent is the mean of its triangles', weighted by angle.
"""

from dataclasses import dataclass
from typing import no_type_check

import numba
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, Int64
from torch import Tensor

from pipeline.scene import Mesh

_SMALLEST = float(np.finfo(np.float32).tiny)  # what the reference takes for zero


def mikktspace_tangents(mesh: Mesh, normals: Float[Tensor, "vertices 3"]) -> Float[Tensor, "faces 3 4"]:
    """Tangent of each corner of each triangle, as glTF 2.0 stores it (section 3.7.2.1).

    Unit vectors along growing u, perpendicular to the normal, in the mesh's frame; w is such that
    `w * cross(normal, tangent)` points towards the top of the texture, the +Y of a normal map. A triangle without
    an extent in the texture gets the tangents of the triangles beside it, one without an area in space those of
    equal corners elsewhere; where there are none, any unit vector perpendicular to the normal, with w = 1.

    Args:
        mesh: With texture coordinates, (0, 0) top left and v down.
        normals: Unit normals per vertex, outwards.

    Raises:
        ValueError: When the mesh has no texture coordinates.
    """
    if mesh.uvs is None or mesh.uv_faces is None:
        raise ValueError("tangents need texture coordinates")
    vertices, vertex_normals, uvs = (
        t.detach().cpu().numpy().astype(np.float32) for t in (mesh.vertices, normals, mesh.uvs)
    )
    faces, uv_faces = (t.cpu().numpy().astype(np.int64) for t in (mesh.faces, mesh.uv_faces))
    positions, normal = vertices[faces].astype(np.float64), vertex_normals[faces].astype(np.float64)
    rows, uv_rows = _equal_rows(np.concatenate([vertices, vertex_normals], 1)), _equal_rows(uvs)
    welded = _equal_pairs(rows[faces], uv_rows[uv_faces])
    triangles = _triangles(positions, uvs[uv_faces])
    edges = np.sort(np.stack([welded, np.roll(welded, -1, 1)], -1).reshape(-1, 2), 1)
    order = np.lexsort((edges[:, 1], edges[:, 0]))
    neighbours = _neighbours(welded, edges, order[~np.repeat(triangles.collapsed, 3)[order]])
    group, right_handed = _groups(welded, neighbours, triangles.directed, triangles.right_handed)
    tangents = _mean_per_group(positions, normal, triangles, group)
    # In v-down coordinates a picture that reads rightly on the surface is left-handed: glTF's w is +1 for it.
    sign = np.where(right_handed, -1.0, 1.0)[:, None].repeat(3, 1)
    return torch.from_numpy(_filled(np.concatenate([tangents, sign[..., None]], -1), normal, welded)).to(mesh.vertices)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Triangles:
    """How the texture lies on each triangle.

    Attributes:
        tangent: Unit vector along growing u; zero where there is none.
        right_handed: Whether (u, v) turn as the triangle does.
        directed: Whether both texture directions are defined.
        collapsed: Whether two corners share a position.
    """

    tangent: Float64[np.ndarray, "faces 3"]
    right_handed: Bool[np.ndarray, "faces"]
    directed: Bool[np.ndarray, "faces"]
    collapsed: Bool[np.ndarray, "faces"]


def _triangles(positions: Float64[np.ndarray, "faces 3 3"], uvs: Float32[np.ndarray, "faces 3 2"]) -> _Triangles:
    """Equations 18 and 19 of the paper; the sign of the area in float32, as the reference rounds it."""
    du, dv = np.moveaxis(uvs[:, 1:] - uvs[:, :1], -1, 0)  # (faces, 2): of the edges to corners 1 and 2
    area = du[:, 0] * dv[:, 1] - dv[:, 0] * du[:, 1]
    edge = positions[:, 1:] - positions[:, :1]
    sign = np.where(area > 0, 1.0, -1.0)[:, None]
    along_u = sign * (dv[:, 1:] * edge[:, 0] - dv[:, :1] * edge[:, 1])
    along_v = sign * (du[:, :1] * edge[:, 1] - du[:, 1:] * edge[:, 0])
    length_u, length_v = (np.linalg.norm(x, axis=1) for x in (along_u, along_v))
    a, b, c = np.moveaxis(positions, 1, 0)
    collapsed = (a == b).all(1) | (b == c).all(1) | (c == a).all(1)
    flat = ~(np.abs(area) > _SMALLEST)
    return _Triangles(
        tangent=np.where(flat[:, None], 0.0, _unit(along_u)),
        right_handed=area > 0,
        directed=~(flat | collapsed) & (length_u > _SMALLEST) & (length_v > _SMALLEST),
        collapsed=collapsed,
    )


def _mean_per_group(
    positions: Float64[np.ndarray, "faces 3 3"],
    normal: Float64[np.ndarray, "faces 3 3"],
    triangles: _Triangles,
    group: Int64[np.ndarray, "faces 3"],
) -> Float64[np.ndarray, "faces 3 3"]:
    """Unit tangent per corner: its group's mean, weighted by the angles in the tangent plane; zero without a group."""

    def in_plane(vectors: Float64[np.ndarray, "faces 3 3"]) -> Float64[np.ndarray, "faces 3 3"]:
        return _unit(vectors - (normal * vectors).sum(-1, keepdims=True) * normal)

    before, after = (in_plane(np.roll(positions, shift, 1) - positions) for shift in (1, -1))
    angle = np.arccos(np.clip((before * after).sum(-1), -1, 1))
    share = angle[..., None] * in_plane(np.repeat(triangles.tangent[:, None], 3, 1))
    counted = triangles.directed[:, None] & (group >= 0)
    sums = np.stack(
        [np.bincount(group[counted], share[counted][:, k], group.max(initial=-1) + 1) for k in range(3)], -1
    )
    return np.where((group >= 0)[..., None], _unit(np.concatenate([sums, np.zeros((1, 3))]))[group], 0.0)


def _filled(
    tangents: Float64[np.ndarray, "faces 3 4"],
    normal: Float64[np.ndarray, "faces 3 3"],
    welded: Int64[np.ndarray, "faces 3"],
) -> Float64[np.ndarray, "faces 3 4"]:
    """The tangents, with those of equal corners, or else any, where a corner has none."""
    corner, flat = welded.reshape(-1), tangents.reshape(-1, 4).copy()
    have = (flat[:, :3] != 0).any(1)
    known, first = np.unique(corner[have], return_index=True)
    donor = np.full(corner.max(initial=0) + 1, -1)
    donor[known] = np.flatnonzero(have)[first]
    lent = ~have & (donor[corner] >= 0)
    flat[lent] = flat[donor[corner[lent]]]
    none = ~have & ~lent
    across = normal.reshape(-1, 3)[none]
    axis = np.eye(3)[np.abs(across).argmin(1)]
    flat[none] = np.concatenate([_unit(np.cross(np.cross(across, axis), across)), np.ones((len(axis), 1))], 1)
    flat[(flat[:, :3] == 0).all(1), 0] = 1.0  # not even a normal
    return flat.reshape(tangents.shape)


def _unit(vectors: Float64[np.ndarray, "*rows 3"]) -> Float64[np.ndarray, "*rows 3"]:
    """Unit vectors; zero stays zero."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > _SMALLEST)


def _equal_rows(values: Float32[np.ndarray, "rows _"]) -> Int64[np.ndarray, "rows"]:
    """One number per row, the same for rows of equal values."""
    order = np.lexsort(values.T)
    ordered = values[order]
    new = np.concatenate([[False], (ordered[1:] != ordered[:-1]).any(1)])[: len(values)]
    number = np.empty(len(values), np.int64)
    number[order] = np.cumsum(new)
    return number


def _equal_pairs(
    first: Int64[np.ndarray, "faces 3"], second: Int64[np.ndarray, "faces 3"]
) -> Int64[np.ndarray, "faces 3"]:
    """One number per corner, the same for equal pairs of numbers."""
    return np.unique(first * (second.max(initial=0) + 1) + second, return_inverse=True)[1].reshape(first.shape)


@numba.njit(cache=True)
@no_type_check
def _neighbours(welded, edges, order):  # noqa: ANN001, ANN202  # a kernel
    """The face beyond each edge (from a corner to the next), -1 at borders; of several, the first still free."""
    beyond = np.full(welded.size, -1, np.int64)
    for k in range(len(order)):
        edge = order[k]
        if beyond[edge] >= 0:
            continue
        start = welded[edge // 3, edge % 3]
        for j in range(k + 1, len(order)):
            other = order[j]
            if edges[other, 0] != edges[edge, 0] or edges[other, 1] != edges[edge, 1]:
                break
            if beyond[other] < 0 and welded[other // 3, other % 3] != start:
                beyond[edge], beyond[other] = other // 3, edge // 3
                break
    return beyond.reshape(welded.shape)


@numba.njit(cache=True)
@no_type_check
def _groups(welded, neighbours, directed, right_handed):  # noqa: ANN001, ANN202  # a kernel
    """Group of each corner, -1 for none, and orientations: an undirected triangle takes that of its first group."""
    group = np.full(welded.shape, -1, np.int64)
    right_handed = right_handed.copy()
    waiting = np.empty(2 * welded.size + 2, np.int64)
    groups = 0
    for start in range(welded.size):
        if group[start // 3, start % 3] >= 0 or not directed[start // 3]:
            continue
        corner, hand = welded[start // 3, start % 3], right_handed[start // 3]
        waiting[0], count = start // 3, 1
        while count > 0:
            count -= 1
            face = waiting[count]
            i = 0
            while welded[face, i] != corner:
                i += 1
            if group[face, i] >= 0:
                continue
            if not directed[face] and group[face].max() < 0:
                right_handed[face] = hand
            if right_handed[face] != hand:
                continue
            group[face, i] = groups
            for beside in (neighbours[face, i - 1], neighbours[face, i]):
                if beside >= 0:
                    waiting[count] = beside
                    count += 1
        groups += 1
    return group, right_handed
