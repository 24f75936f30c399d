"""What colour the highlights of an object have: the surface's own on a metal, the light's on anything else.

What a dielectric scatters is the same from all sides; what changes from photo to photo is its mirror image, which is
not coloured. A metal has nothing but its mirror image, and that has the surface's colour. So under a light that stays
where it is, the changes of a place tell metal from paint by themselves, wherever the place is not grey.
"""

from dataclasses import dataclass

import torch

from pipeline.stages.appearance_overlap import measured_gains, observed, sums
from pipeline.stages.appearance_pixels import Pixels

LEAST_VIEWS, LEAST_CELLS = 6, 50  # of a cell to take part; of these to say something
COLORED = 0.3  # norm of a colour divided by its mean, less 1, from which it is not grey
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
    shown = observed(pixels)
    if len(shown.views) < LEAST_CELLS:
        return None
    cell, views = shown.cell, shown.views
    color = shown.color / measured_gains(shown)[shown.view]
    mean = sums(cell, color) / views[:, None]
    off = color - mean[cell]
    bright = off.mean(1)
    variance, covariance = sums(cell, bright.square()), sums(cell, off * bright[:, None])
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
