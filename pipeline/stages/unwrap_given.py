"""Whether texture coordinates that came with a mesh can hold a texture of their own."""

import torch

from pipeline.raster.rasterizer import Rasterizer
from pipeline.scene import Mesh

CHECKED_PX = 2048
OUTSIDE = 1e-3  # of the texture's edge: rounding
MAX_OVERLAP = 0.02  # share of the charts' area that lies on another chart
MAX_COLLAPSED = 0.02  # share of the surface without an area in the texture


def why_unusable(mesh: Mesh, rasterizer: Rasterizer) -> tuple[str, dict[str, float]]:
    """Why a mesh's texture coordinates cannot be kept, empty when they can, and the figures that were measured.

    Every part of the surface needs texels of its own: coordinates that repeat a texture (beyond [0, 1]), mirrored
    halves that share one, or triangles without an area in the texture would mix colours of different places.
    """
    if mesh.uvs is None or mesh.uv_faces is None:
        return "it has none", {}
    low, high = float(mesh.uvs.min()), float(mesh.uvs.max())
    if low < -OUTSIDE or high > 1 + OUTSIDE:
        return f"they reach from {low:.3g} to {high:.3g}, outside 0 .. 1", {}
    area = _double_areas(mesh.uvs, mesh.uv_faces) / 2
    surface = _double_areas(mesh.vertices, mesh.faces)
    collapsed = float(surface[area < 1e-12].sum() / surface.sum().clamp_min(1e-30))
    if collapsed > MAX_COLLAPSED:
        return f"{collapsed:.1%} of the surface has no area in the texture, limit {MAX_COLLAPSED:.0%}", {}
    count = len(mesh.uvs)
    clip = torch.cat([mesh.uvs * 2 - 1, torch.zeros(count, 1), torch.ones(count, 1)], 1)
    raster = rasterizer.rasterize(clip[None], mesh.uv_faces, size_px=(CHECKED_PX, CHECKED_PX))
    covered = float(raster.mask.float().mean())
    overlap = 1 - covered / float(area.sum())
    if overlap > MAX_OVERLAP:
        return f"{overlap:.1%} of their area overlaps, limit {MAX_OVERLAP:.0%}", {}
    return "", {"uvs": float(count), "area_used": covered, "overlap": max(0.0, overlap)}


def _double_areas(points: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
    """Twice the area of each triangle, in the plane or in space."""
    a, b, c = points.double()[faces].unbind(1)
    u, v = b - a, c - a
    squared = (u * u).sum(-1) * (v * v).sum(-1) - (u * v).sum(-1) ** 2
    return squared.clamp_min(0).sqrt()
