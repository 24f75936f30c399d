"""Soft rasterisation: every triangle near a pixel takes part, by sigmoid coverage and a softmax over depth.

"Soft Rasterizer: A Differentiable Renderer for Image-based 3D Reasoning" (Liu et al. 2019): the second estimator of
gradients, biased but dense, where `antialias` is exact but lives on silhouettes. This is the definition, in torch on
any device, over all pairs of pixels and triangles; the `cpu` backend has kernels for it that look at near ones only.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.errors import InputError

_PAIRS = 2**22  # pixel-triangle pairs held at once


@dataclass(frozen=True, kw_only=True)
class Softness:
    """How soft.

    Attributes:
        sigma_px: Width of the coverage's sigmoid in pixels: a point that far inside an edge is covered by .73.
        gamma: Width of the softmax over depth, as a share of the view's depth range (z/w from -1 to 1).
        reach: Triangles farther from a pixel than so many sigmas are left out.
    """

    sigma_px: float = 0.7
    gamma: float = 1e-3
    reach: float = 3.0

    def __post_init__(self) -> None:
        """Refuse widths that are not positive."""
        for name in ("sigma_px", "gamma", "reach"):
            if not getattr(self, name) > 0:
                raise InputError(f"soft rasterising with {name}={getattr(self, name)}", remedy="it must be positive")


def soft_render(
    attributes: Float[Tensor, "vertices channels"],
    clip: Float[Tensor, "views vertices 4"],
    faces: Int[Tensor, "faces 3"],
    *,
    size_px: tuple[int, int],
    softness: Softness,
) -> tuple[Float[Tensor, "views height width channels"], Float[Tensor, "views height width"]]:
    """Soft colour over black, and soft coverage 1 - prod(1 - D); differentiable in attributes and positions.

    A triangle at the distance d covers D = sigmoid(+-d^2 / sigma^2) of a pixel, + inside; its colour is the
    perspective-correct one at the nearest point, and weighs D exp(-depth / gamma) among the triangles and a background
    at the far plane. Triangles with a corner behind the camera or without an area are left out.
    """
    width, height = size_px
    rows = max(1, _PAIRS // max(1, width * len(faces)))
    colors, coverages = [], []
    for view in clip:
        parts = [
            _soft_rows(attributes, view, faces.long(), (width, height, y, min(height, y + rows)), softness)
            for y in range(0, height, rows)
        ]
        colors.append(torch.cat([color for color, _ in parts]))
        coverages.append(torch.cat([coverage for _, coverage in parts]))
    return torch.stack(colors), torch.stack(coverages)


def _soft_rows(
    attributes: Tensor, clip: Tensor, faces: Tensor, rows: tuple[int, int, int, int], softness: Softness
) -> tuple[Tensor, Tensor]:
    """Colour and coverage of some rows (width, height, first, end) of one view."""
    width, height, first, end = rows
    w = clip[:, 3]
    safe = torch.where(w > 0, w, torch.ones_like(w))
    screen = torch.stack([(clip[:, 0] / safe + 1) * (0.5 * width), (clip[:, 1] / safe + 1) * (0.5 * height)], -1)
    corners = screen[faces]  # (F, 3, 2)
    area = _cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    usable = (w[faces] > 0).all(-1) & (area.abs() > 1e-12) & torch.isfinite(area)
    y, x = torch.meshgrid(
        torch.arange(first, end, device=clip.device) + 0.5, torch.arange(width, device=clip.device) + 0.5, indexing="ij"
    )
    pixels = torch.stack([x, y], -1).reshape(-1, 1, 2).to(clip.dtype)  # (P, 1, 2)
    distance, on_screen = _nearest(pixels, corners[usable], area[usable])
    inverse_w = on_screen / safe[faces][usable]
    weights = inverse_w / inverse_w.sum(-1, keepdim=True)  # perspective-correct (P, F', 3)
    near = distance > -softness.reach * softness.sigma_px
    scaled = distance * distance.abs() / softness.sigma_px**2
    corner_depth = (clip[:, 2] / safe)[faces][usable]
    depth = (on_screen * corner_depth).sum(-1)  # z/w is linear on the screen
    inside = near & (depth >= -1) & (depth <= 1)
    coverage = torch.where(inside, torch.sigmoid(scaled), torch.zeros_like(scaled))
    closeness = torch.where(inside, (1 - depth) / (2 * softness.gamma), torch.full_like(depth, -torch.inf))
    top = closeness.detach().amax(-1, keepdim=True).clamp_min(0) if closeness.shape[1] else closeness.new_zeros(1, 1)
    share = coverage * torch.exp(closeness - top)
    total = share.sum(-1) + torch.exp(-top[:, 0])
    seen = (weights[..., None] * attributes[faces][usable]).sum(-2)  # (P, F', C)
    color = (share[..., None] * seen).sum(1) / total[:, None]
    transparent = torch.prod(1 - coverage, -1)
    shape = (end - first, width)
    return color.reshape(*shape, -1), (1 - transparent).reshape(shape)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _nearest(pixels: Tensor, corners: Tensor, area: Tensor) -> tuple[Tensor, Tensor]:
    """Signed distance (P, F) in pixels, positive inside, and screen weights (P, F, 3) of the nearest points."""
    p = pixels[:, :, None]  # (P, 1, 1, 2)
    start, step = corners, corners.roll(-1, 1) - corners  # edge k runs from corner k to k + 1
    along = (((p - start) * step).sum(-1) / (step * step).sum(-1).clamp_min(1e-24)).clamp(0, 1)  # (P, F, 3)
    squared = ((p - start - along[..., None] * step) ** 2).sum(-1)
    edge = squared.detach().argmin(-1, keepdim=True)
    away = torch.sqrt(squared.gather(-1, edge)[..., 0].clamp_min(1e-24))
    t = along.gather(-1, edge)
    on_edge = torch.zeros_like(along).scatter(-1, edge, 1 - t).scatter(-1, (edge + 1) % 3, t)
    within = torch.stack(
        [_cross(corners[:, (k + 2) % 3] - corners[:, (k + 1) % 3], pixels - corners[:, (k + 1) % 3]) for k in range(3)],
        -1,
    )
    within = within / area[:, None]
    inside = (within.detach() >= 0).all(-1)
    return torch.where(inside, away, -away), torch.where(inside[..., None], within, on_edge)
