"""What colour the highlights of an object have: the surface's own on a metal, the light's on anything else.

What a dielectric scatters is the same from all sides; what changes from photo to photo is its mirror image, which is
not coloured. A metal has nothing but its mirror image, and that has the surface's colour. So under a light that stays
where it is, the changes of a place tell metal from paint by themselves, wherever the place is not grey.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.stages.appearance_pixels import Pixels

CELLS = 256  # along an edge of the texture
SAMPLE_PIXELS = 1_000_000
LEAST_VIEWS, LEAST_CELLS = 6, 50  # of a cell to take part; of these to say something
COLORED = 0.3  # norm of a colour divided by its mean, less 1, from which it is not grey
DARK, BRIGHT = 0.004, 0.95  # linear; outside, noise and clipping change colours
GAIN_ROUNDS = 5
MOST_CHANGE = 0.5  # deviation of a place, relative to its mean, from which more does not count for more


@dataclass(frozen=True, kw_only=True)
class Highlights:
    """What changes from photo to photo.

    Attributes:
        colored: Share of the places that are not grey.
        own_color: How much of the colour of these their changes have: 0 for white highlights, 1 for the surface's own.
        change: Deviation of a place's brightness over the photos, relative to its mean; the median of all places.
    """

    colored: float
    own_color: float
    change: float


@torch.no_grad()
def measure_highlights(pixels: Pixels) -> Highlights | None:
    """The colour of the changes; none where it tells nothing: the light moves, or too little is seen or coloured.

    Exposures that differ from photo to photo change a place in its own colour, too: photos are made as bright as each
    other where they show the same places. Textures that do not lie on each other do so as well, so that small changes
    are no evidence.

    Args:
        pixels: Of all photos, under a light that stays where it is or several of them, in any order.
    """
    if pixels.view is None or pixels.light_from_world is not None:
        return None
    color, cell, view, views = _by_cell(pixels, pixels.view.long())
    color = color / _gains(color, cell, view)[view]
    mean = _sums(cell, color) / views[:, None]
    off = color - mean[cell]
    bright = off.mean(1)
    variance, covariance = _sums(cell, bright.square()), _sums(cell, off * bright[:, None])
    own = mean / mean.mean(1, keepdim=True) - 1
    changing = covariance / variance.clamp_min(1e-12)[:, None] - 1
    change = (variance / views).sqrt() / mean.mean(1)
    seen = views >= LEAST_VIEWS
    colored = seen & (own.norm(dim=1) > COLORED)
    if int(colored.sum()) < LEAST_CELLS:
        return None
    weight = change[colored].clamp_max(MOST_CHANGE).square()
    shared = weight * (changing * own).sum(1)[colored]
    return Highlights(
        colored=float(colored.sum() / seen.sum()),
        own_color=float(shared.sum() / (weight * own.square().sum(1)[colored]).sum().clamp_min(1e-12)),
        change=float(change[seen].median()),
    )


def _by_cell(
    pixels: Pixels, view: Int[Tensor, "pixels"]
) -> tuple[
    Float[Tensor, "observations 3"], Int[Tensor, "observations"], Int[Tensor, "observations"], Float[Tensor, "cells"]
]:
    """The mean colours that photos show of some cells, the cell and the photo of each, and how many each cell has."""
    corner = (pixels.uv * CELLS).long().clamp(0, CELLS - 1)
    place = corner[:, 1] * CELLS + corner[:, 0]
    if pixels.light_index is not None:
        place = place + CELLS * CELLS * pixels.light_index.long()
    stride = -(-len(pixels) // SAMPLE_PIXELS)  # whole cells: some pixels of each would change with its texture
    chosen = place * 2654435761 % 2**32 % stride == 0
    place, view, target = place[chosen], view[chosen], pixels.target[chosen]
    photos = int(view.max()) + 1
    seen, index = torch.unique(place * photos + view, return_inverse=True)
    count = torch.bincount(index, minlength=len(seen))
    color = _sums(index, target) / count[:, None]
    usable = (color.amin(1) > DARK) & (color.amax(1) < BRIGHT)
    color, seen = color[usable], seen[usable]
    _, cell, views = torch.unique(seen // photos, return_inverse=True, return_counts=True)
    return color, cell, seen % photos, views.to(color.dtype)


def _gains(
    color: Float[Tensor, "observations 3"], cell: Int[Tensor, "observations"], view: Int[Tensor, "observations"]
) -> Float[Tensor, "photos 1"]:
    """How bright each photo is, by the medians over the cells that it shows."""
    bright = color.log().mean(1)
    gain = bright.new_zeros(int(view.max()) + 1)
    count = torch.bincount(cell)
    for _ in range(GAIN_ROUNDS):
        left = bright - gain[view]
        left = left - (_sums(cell, left) / count)[cell]
        step = torch.stack(
            [left[view == v].median() if bool((view == v).any()) else left.new_zeros(()) for v in range(len(gain))]
        )
        gain += step
    return torch.exp(gain)[:, None]


def _sums(index: Int[Tensor, "entries"], values: Float[Tensor, "entries *channels"]) -> Float[Tensor, "_ *channels"]:
    """Sums of the entries of each index."""
    total = values.new_zeros(int(index.max()) + 1, *values.shape[1:])
    return total.index_add_(0, index, values)
