"""Texture maps as a sum of coarse and fine levels, for fitting.

The coarse levels carry low frequencies quickly and fill texels that no photo shows.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.shading.gather import weighted_rows

COARSENING = (1, 4, 16)


def bilinear_texels(
    uv: Float[Tensor, "points 2"], size: int
) -> tuple[Int[Tensor, "points 4"], Float[Tensor, "points 4"]]:
    """The four texels around each coordinate and their weights; clamped at the border, (0, 0) top left."""
    position = (uv * size - 0.5).clamp(0, size - 1)
    base = position.floor().clamp_max(size - 2)
    fu, fv = (position - base).unbind(-1)
    column, row = base.long().unbind(-1)
    corner = (row * size + column)[:, None] + torch.tensor([0, 1, size, size + 1], device=uv.device)
    weights = torch.stack([(1 - fu) * (1 - fv), fu * (1 - fv), (1 - fu) * fv, fu * fv], -1)
    return corner, weights


def sample_texture(
    texture: Float[Tensor, "height width channels"], uv: Float[Tensor, "points 2"]
) -> Float[Tensor, "points channels"]:
    """Bilinear look-up in a square texture, clamped at the border."""
    corner, weights = bilinear_texels(uv, texture.shape[0])
    rows = texture.reshape(-1, texture.shape[-1])
    return weighted_rows(rows, corner, weights)


class TexturePyramid:
    """A square texture of unbounded values (logits) around a constant start.

    Args:
        size: Texels along an edge of the finest level.
        start: The constant value of each channel.
    """

    def __init__(self, size: int, start: Float[Tensor, "channels"]) -> None:
        self.size = size
        self.start = start
        self.levels = [
            torch.zeros((size // c) ** 2, len(start), device=start.device, requires_grad=True) for c in COARSENING
        ]

    def __call__(self, uv: Float[Tensor, "points 2"]) -> Float[Tensor, "points channels"]:
        """Look the sum of all levels up, bilinearly."""
        value = self.start.expand(len(uv), -1)
        for coarsening, level in zip(COARSENING, self.levels, strict=True):
            corner, weights = bilinear_texels(uv, self.size // coarsening)
            value = value + weighted_rows(level, corner, weights)
        return value

    def bake(self) -> Float[Tensor, "size size channels"]:
        """The sum of all levels at the finest level's texel centres."""
        total = torch.zeros(1, len(self.start), self.size, self.size, device=self.start.device)
        for coarsening, level in zip(COARSENING, self.levels, strict=True):
            side = self.size // coarsening
            map_ = level.detach().reshape(1, side, side, -1).permute(0, 3, 1, 2)
            total += torch.nn.functional.interpolate(map_, size=(self.size, self.size), mode="bilinear")
        return total[0].permute(1, 2, 0) + self.start
