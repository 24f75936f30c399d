"""What colour the highlights of an object have: the surface's own on a metal, the light's on anything else.

What a dielectric scatters is the same from all sides; what changes from photo to photo is its mirror image, which is
not coloured. A metal has nothing but its mirror image, and that has the surface's colour. So under a light that stays
where it is, the changes of a place tell metal from paint by themselves, wherever the place is not grey.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.stages.appearance_pixels import Pixels, occurring

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
    shown = _by_cell(pixels, pixels.view.long())
    if len(shown.views) < LEAST_CELLS:
        return None
    cell, views = shown.cell, shown.views
    color = shown.color / _gains(shown)[shown.view]
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


@dataclass(frozen=True, eq=False, kw_only=True)
class _Observations:
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


def _by_cell(pixels: Pixels, view: Int[Tensor, "pixels"]) -> _Observations:
    """What photos show of some cells, where it is neither dark nor clipped."""
    corner = (pixels.uv * CELLS).long().clamp(0, CELLS - 1)
    place = corner[:, 1] * CELLS + corner[:, 0]
    if pixels.light_index is not None:
        place = place + CELLS * CELLS * pixels.light_index.long()
    stride = -(-len(pixels) // SAMPLE_PIXELS)  # whole cells: some pixels of each would change with its texture
    chosen, photos = place * 2654435761 % 2**32 % stride == 0, int(view.max()) + 1
    seen, index = torch.unique(place[chosen] * photos + view[chosen], return_inverse=True)
    color = _sums(index, pixels.target[chosen]) / torch.bincount(index, minlength=len(seen))[:, None]
    usable = (color.amin(1) > DARK) & (color.amax(1) < BRIGHT)
    _, cell, views = torch.unique(seen[usable] // photos, return_inverse=True, return_counts=True)
    return _Observations(color=color[usable], view=seen[usable] % photos, cell=cell, views=views.to(color.dtype))


def _gains(shown: _Observations) -> Float[Tensor, "photos 1"]:
    """How bright each photo is, by the median over the cells that it shows."""
    bright = shown.color.log().mean(1)
    gain = bright.new_zeros(int(shown.view.max()) + 1)
    for _ in range(GAIN_ROUNDS):
        left = bright - gain[shown.view]
        left = left - (_sums(shown.cell, left) / shown.views)[shown.cell]
        for view in occurring(shown.view):
            gain[view] += left[shown.view == view].median()
    return torch.exp(gain)[:, None]


def _sums(index: Int[Tensor, "entries"], values: Float[Tensor, "entries *channels"]) -> Float[Tensor, "_ *channels"]:
    """Sums of the entries of each index."""
    total = values.new_zeros(int(index.max()) + 1 if len(index) else 0, *values.shape[1:])
    return total.index_add_(0, index, values)
