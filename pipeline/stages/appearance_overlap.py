"""What several photos show of the same places, and how much brighter some photos are by that."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.stages.appearance_pixels import Pixels, occurring

CELLS = 256  # along an edge of the texture
SAMPLE_PIXELS = 1_000_000
DARK, BRIGHT = 0.004, 0.95  # linear; outside, noise and clipping change colours
GAIN_ROUNDS = 5


@dataclass(frozen=True, eq=False, kw_only=True)
class Observations:
    """Mean colours of cells of the texture, each in one photo.

    Attributes:
        color: Linear photo values.
        view: Numbers of the photos.
        cell: Numbers of the cells, without gaps.
        views: How many photos show each cell.
    """

    color: Float[Tensor, "observations 3"]
    view: Int[Tensor, "observations"]
    cell: Int[Tensor, "observations"]
    views: Float[Tensor, "cells"]


def observed(pixels: Pixels) -> Observations:
    """What photos show of some cells, where it is neither dark nor clipped."""
    view = torch.as_tensor(pixels.view).long()
    corner = (pixels.uv * CELLS).long().clamp(0, CELLS - 1)
    place = corner[:, 1] * CELLS + corner[:, 0]
    if pixels.light_index is not None:
        place = place + CELLS * CELLS * pixels.light_index.long()
    stride = -(-len(pixels) // SAMPLE_PIXELS)  # whole cells: some pixels of each would change with its texture
    chosen, photos = place * 2654435761 % 2**32 % stride == 0, int(view.max()) + 1
    seen, index = torch.unique(place[chosen] * photos + view[chosen], return_inverse=True)
    color = sums(index, pixels.target[chosen]) / torch.bincount(index, minlength=len(seen))[:, None]
    usable = (color.amin(1) > DARK) & (color.amax(1) < BRIGHT)
    _, cell, views = torch.unique(seen[usable] // photos, return_inverse=True, return_counts=True)
    return Observations(color=color[usable], view=seen[usable] % photos, cell=cell, views=views.to(color.dtype))


def measured_gains(shown: Observations) -> Float[Tensor, "photos 1"]:
    """How bright each photo is, by the median over the cells that it shows with others."""
    bright = shown.color.log().mean(1)
    gain = bright.new_zeros(int(shown.view.max()) + 1)
    shared = shown.views[shown.cell] > 1
    for _ in range(GAIN_ROUNDS):
        left = bright - gain[shown.view]
        left = left - (sums(shown.cell, left) / shown.views)[shown.cell]
        for view in occurring(shown.view):
            gain[view] += left[shared & (shown.view == view)].median().nan_to_num()
    return torch.exp(gain)[:, None]


def sums(index: Int[Tensor, "entries"], values: Float[Tensor, "entries *channels"]) -> Float[Tensor, "_ *channels"]:
    """Sums of the entries of each index."""
    total = values.new_zeros(int(index.max()) + 1 if len(index) else 0, *values.shape[1:])
    return total.index_add_(0, index, values)
