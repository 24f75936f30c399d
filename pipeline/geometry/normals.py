"""Vertex normals as a kernel with its gradient: eager torch spends a third of a geometry step on them."""

# ruff: noqa: ANN001, ANN202 - numba infers the types

from typing import Any, no_type_check

import numba
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from pipeline.geometry.mesh_ops import face_normals
from pipeline.scene import Mesh

_CHUNKS = 8  # sums over the faces, fixed so that the bits do not depend on the threads
_LEAST = 1e-12  # of a length: as torch's normalize
_CANCELLED = 1e-6  # of a sum of unit normals times angles
_FILTER_ROUNDS, _FILTER_ANGLE = 4, 0.1  # the angle in radians: larger ones are edges
_STRAIGHT = 1 - 1e-7  # of a cosine: angles of 0 and 180 degrees have no slope


def vertex_normals(vertices: Float[Tensor, "vertices 3"], faces: Int[Tensor, "faces 3"]) -> Float[Tensor, "vertices 3"]:
    """Unit vertex normals: face normals weighted by the angle at the vertex (Thuermer and Wuethrich 1998).

    Where these cancel, as on a sheet with triangles on both its sides, one of the faces gives the normal.

    Raises:
        IndexError: When a face names a vertex that is not there.
    """
    if vertices.device.type != "cpu":
        return normalize(_with_a_side(angle_weighted_normals(vertices, faces), vertices, faces), dim=-1)
    if faces.numel() and not 0 <= int(faces.min()) <= int(faces.max()) < len(vertices):
        raise IndexError(f"faces index vertices {int(faces.min())} to {int(faces.max())}, there are {len(vertices)}")
    total: Tensor = _AngleWeighted.apply(vertices, faces)
    return normalize(_with_a_side(total, vertices, faces), dim=-1)


def _with_a_side(
    total: Float[Tensor, "vertices 3"], vertices: Float[Tensor, "vertices 3"], faces: Int[Tensor, "faces 3"]
) -> Float[Tensor, "vertices 3"]:
    """Sums of normals, where they cancel that of the last face around."""
    cancelled = total.detach().abs().amax(1) < _CANCELLED
    if not bool(cancelled.any()):
        return total
    with torch.no_grad():
        of_face = face_normals(vertices, faces)
        side = torch.zeros_like(total)
        for corner in range(3):
            some = cancelled[faces[:, corner]]
            side[faces[some, corner]] = normalize(of_face[some], dim=-1)
    return torch.where(cancelled[:, None], side, total)


def shading_normals(mesh: Mesh) -> Float[Tensor, "vertices 3"]:
    """The unit normals that a mesh is shaded with: its own, or those of the triangles around each vertex."""
    return vertex_normals(mesh.vertices, mesh.faces) if mesh.normals is None else mesh.normals


def filtered_normals(
    vertices: Float[Tensor, "vertices 3"], faces: Int[Tensor, "faces 3"], *, reach: float
) -> Float[Tensor, "vertices 3"]:
    """Vertex normals without the ripples of the grid that the surface came from, edges kept.

    A bilateral filter over neighbours, by distance and by angle, as of Zheng et al. 2011 ("Bilateral Normal Filtering
    for Mesh Denoising"), but of the shading only: moved vertices matched neither outlines nor normals better.

    Args:
        vertices: Positions.
        faces: Vertex indices.
        reach: Standard deviation of the distances, world units: what the surface's noise spans.
    """
    normals = vertex_normals(vertices, faces)
    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    own, other = torch.cat([edges, edges[:, [1, 0]]]).unbind(1)
    near = torch.exp(-0.5 * ((vertices[own] - vertices[other]) / reach).square().sum(-1))
    for _ in range(_FILTER_ROUNDS):
        alike = torch.exp(-0.5 * ((normals[own] - normals[other]) / _FILTER_ANGLE).square().sum(-1))
        normals = normalize(normals.index_add(0, own, (near * alike)[:, None] * normals[other]), dim=-1)
    return normals


def angle_weighted_normals(
    vertices: Float[Tensor, "vertices 3"], faces: Int[Tensor, "faces 3"]
) -> Float[Tensor, "vertices 3"]:
    """Sums of unit face normals times the angle at the vertex, in torch on any device: the kernel's definition."""
    a, b, c = vertices[faces].unbind(1)
    corners, normals = (a, b, c), normalize(torch.linalg.cross(b - a, c - a), dim=-1)
    total = torch.zeros_like(vertices)
    for k in range(3):
        to_next = normalize(corners[(k + 1) % 3] - corners[k], dim=-1)
        to_last = normalize(corners[(k + 2) % 3] - corners[k], dim=-1)
        angle = torch.acos((to_next * to_last).sum(-1).clamp(-_STRAIGHT, _STRAIGHT))
        total = total.index_add(0, faces[:, k], normals * angle[:, None])
    return total


_helper = numba.njit(error_model="numpy")
_kernel = numba.njit(cache=True, parallel=True, error_model="numpy")


@_helper
@no_type_check
def _point(vertices, i):
    return np.float64(vertices[i, 0]), np.float64(vertices[i, 1]), np.float64(vertices[i, 2])


@_helper
@no_type_check
def _minus(a, b):
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


@_helper
@no_type_check
def _dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@_helper
@no_type_check
def _cross(a, b):
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


@_helper
@no_type_check
def _unit(a):
    """The vector at unit length, and its length."""
    length = max(np.sqrt(_dot(a, a)), _LEAST)
    return (a[0] / length, a[1] / length, a[2] / length), length


@_helper
@no_type_check
def _add(sums, i, a, factor):
    sums[i, 0] += a[0] * factor
    sums[i, 1] += a[1] * factor
    sums[i, 2] += a[2] * factor


@_kernel
@no_type_check
def _sum_normals(vertices, faces, sums):
    """Add unit normals times angles to `sums` (chunks, vertices, 3), which start at zero."""
    chunks, count = sums.shape[0], faces.shape[0]
    for chunk in numba.prange(chunks):
        for f in range(chunk * count // chunks, (chunk + 1) * count // chunks):
            i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
            a, b, c = _point(vertices, i), _point(vertices, j), _point(vertices, k)
            normal, _ = _unit(_cross(_minus(b, a), _minus(c, a)))
            (ab, _), (bc, _), (ca, _) = _unit(_minus(b, a)), _unit(_minus(c, b)), _unit(_minus(a, c))
            _add(sums[chunk], i, normal, np.arccos(min(max(-_dot(ab, ca), -_STRAIGHT), _STRAIGHT)))
            _add(sums[chunk], j, normal, np.arccos(min(max(-_dot(bc, ab), -_STRAIGHT), _STRAIGHT)))
            _add(sums[chunk], k, normal, np.arccos(min(max(-_dot(ca, bc), -_STRAIGHT), _STRAIGHT)))


@_helper
@no_type_check
def _angle_backward(corners, points, normal, grad, sums):
    """Add the gradient of one corner's angle (its share of `grad` along the normal) to three points; returns the angle.

    With unit vectors u, v to the other two points: d angle / d point u = (u cos - v) / (|u| sin).
    """
    here, following, last = points
    (u, u_length), (v, v_length) = _unit(_minus(following, here)), _unit(_minus(last, here))
    cos = _dot(u, v)
    if -_STRAIGHT < cos < _STRAIGHT:
        slope = _dot(normal, grad) / np.sqrt(1 - cos * cos)
        to_u = ((u[0] * cos - v[0]) / u_length, (u[1] * cos - v[1]) / u_length, (u[2] * cos - v[2]) / u_length)
        to_v = ((v[0] * cos - u[0]) / v_length, (v[1] * cos - u[1]) / v_length, (v[2] * cos - u[2]) / v_length)
        _add(sums, corners[1], to_u, slope)
        _add(sums, corners[2], to_v, slope)
        _add(sums, corners[0], to_u, -slope)
        _add(sums, corners[0], to_v, -slope)
    return np.arccos(min(max(cos, -_STRAIGHT), _STRAIGHT))


@_kernel
@no_type_check
def _sum_normals_backward(vertices, faces, grad, sums):
    """Add the gradient with respect to the vertices to `sums` (chunks, vertices, 3), which start at zero."""
    chunks, count = sums.shape[0], faces.shape[0]
    for chunk in numba.prange(chunks):
        for f in range(chunk * count // chunks, (chunk + 1) * count // chunks):
            i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
            a, b, c = _point(vertices, i), _point(vertices, j), _point(vertices, k)
            at_a, at_b, at_c = _point(grad, i), _point(grad, j), _point(grad, k)
            p, q = _minus(b, a), _minus(c, a)
            normal, length = _unit(_cross(p, q))
            angle_a = _angle_backward((i, j, k), (a, b, c), normal, at_a, sums[chunk])
            angle_b = _angle_backward((j, k, i), (b, c, a), normal, at_b, sums[chunk])
            angle_c = _angle_backward((k, i, j), (c, a, b), normal, at_c, sums[chunk])
            if length <= _LEAST:
                continue
            gx = angle_a * at_a[0] + angle_b * at_b[0] + angle_c * at_c[0]
            gy = angle_a * at_a[1] + angle_b * at_b[1] + angle_c * at_c[1]
            gz = angle_a * at_a[2] + angle_b * at_b[2] + angle_c * at_c[2]
            along = _dot(normal, (gx, gy, gz))
            across = (gx - along * normal[0], gy - along * normal[1], gz - along * normal[2])
            to_p, to_q = _cross(q, across), _cross(across, p)
            _add(sums[chunk], j, to_p, 1 / length)
            _add(sums[chunk], k, to_q, 1 / length)
            _add(sums[chunk], i, to_p, -1 / length)
            _add(sums[chunk], i, to_q, -1 / length)


class _AngleWeighted(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vertices: Tensor, faces: Tensor) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(vertices, faces)
        sums = torch.zeros(_CHUNKS, *vertices.shape, dtype=vertices.dtype)
        _sum_normals(vertices.detach().contiguous().numpy(), faces.contiguous().numpy(), sums.numpy())
        return sums.sum(0)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        vertices, faces = ctx.saved_tensors
        sums = torch.zeros(_CHUNKS, *vertices.shape, dtype=vertices.dtype)
        arrays = (x.detach().contiguous().numpy() for x in (vertices, faces, grad))
        _sum_normals_backward(*arrays, sums.numpy())
        return sums.sum(0), None
