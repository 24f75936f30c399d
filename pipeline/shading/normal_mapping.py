"""Shading normals: from normal maps, and for surfaces seen from behind or past their edge."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from pipeline.scene import Mesh
from pipeline.shading.visibility import SurfacePoints

_LEAST_COSINE = 1e-3


def mapped_normals(
    normal: Float[Tensor, "points 3"], tangent: Float[Tensor, "points 4"], stored: Float[Tensor, "points 3"]
) -> Float[Tensor, "points 3"]:
    """Unit normals of a tangent-space normal map, by MikkTSpace's convention.

    Args:
        normal: Vertex normals, interpolated and not brought to unit length again: bakers do the same.
        tangent: Tangents likewise, w = sign of the bitangent.
        stored: The map's values, n * 0.5 + 0.5, +Y green.
    """
    along, sign = tangent[:, :3], torch.where(tangent[:, 3:] < 0, -1.0, 1.0)
    x, y, z = (2 * stored - 1).split(1, 1)
    bent = x * along + y * sign * torch.linalg.cross(normal, along) + z * normal
    return normalize(torch.where(bent.norm(dim=1, keepdim=True) > 1e-6, bent, normal), dim=1)


def seen_from_behind(mesh: Mesh, points: SurfacePoints, wo: Float[Tensor, "points 3"]) -> Float[Tensor, "points 1"]:
    """-1 where a camera in direction `wo` sees the back of the triangle, else 1: what turns normals to the viewer."""
    a, b, c = mesh.vertices[points.corners].unbind(1)
    facing = (torch.linalg.cross(b - a, c - a) * wo).sum(1, keepdim=True)
    return torch.where(facing < 0, -1.0, 1.0)


def visible_normals(normal: Float[Tensor, "points 3"], wo: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
    """Unit normals bent to the viewer's side where they face away, as interpolated ones do at outlines."""
    lacking = (_LEAST_COSINE - (normal * wo).sum(1, keepdim=True)).clamp_min(0)
    return normalize(normal + lacking * wo, dim=1)
