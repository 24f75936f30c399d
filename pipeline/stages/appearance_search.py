"""Metal or dielectric, rough or smooth: choices that gradients do not find, made by trying them against the photos.

A metal and a dielectric that explain the same photos lie far apart: one has all its colour in the mirror image, the
other hardly any. With the light known, however, radiance is linear in base colour, so that for each roughness and
each `metallic` of a grid the best base colour and what it leaves unexplained follow in closed form.
"""

import itertools
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree
from torch import Tensor

from pipeline.shading.shade import shade
from pipeline.shading.texture_pyramid import TexturePyramid
from pipeline.stages.appearance_light import FittedLight, Shadows
from pipeline.stages.appearance_pixels import Pixels

ROUGHNESS = (0.12, 0.2, 0.3, 0.42, 0.56, 0.72, 0.9)
METALLIC = (0.0, 0.25, 0.5, 0.75, 1.0)  # between the ends: texels that show both
DIMMING = (0.7, 0.85, 1.0, 1.2, 1.4, 1.7, 2.0, 2.4, 2.8, 3.4, 4.0, 4.8, 5.6)  # how much darker a light may be
SEARCH_PIXELS, CELL_PIXELS = (100_000, 400_000), 8  # the least and the most in all, and for each cell of the maps
CHUNK = 65_536
MIN_PIXELS = 2  # of a cell to take part
NEIGHBOURS, REACH = 25, 0.008  # cells that vote together: Gaussian of their distance, shares of the diagonal
METAL = 0.5  # metallic from which a place counts as metal
SURE = 0.75  # the other material must leave less than this share of the error unexplained
CONTRADICTED, NO_METAL = 1.5, 4.0  # error of a paint, dielectric over metal: above, it is metal. The most that counts
METALS_REFLECT = 0.15  # darker metals are hardly found; the brightness of the light is not certain, so not .3
METALS_GREEN, METALS_RED = 0.4, 0.6  # least green of red (copper .67, rust .4), and least red of green and blue
ANCHORS = 2000  # cells that speak for their paint
LIKE_PAINT = 0.2  # standard deviation of log(base colour + .03) within a paint
ROUGHNESS_STEP = 0.15  # smaller differences are left to the fit


@dataclass(frozen=True, eq=False, kw_only=True)
class Recast:
    """Cells of a texture whose material is another than thought.

    Attributes:
        cells: Texels of the middle level of the maps.
        values: Base colour, roughness and metallic there.
    """

    cells: Int[Tensor, "cells"]
    values: Float[Tensor, "cells 5"]


@dataclass(frozen=True, eq=False, kw_only=True)
class _Evidence:
    """Normal equations of the cells that photos show, per hypothesis.

    Attributes:
        cells: Texels of the middle level of the maps.
        count: Pixels of each.
        sums: As `_accumulate` makes them, with the neighbours'.
    """

    cells: Int[Tensor, "cells"]
    count: Int[Tensor, "cells"]
    sums: Float[Tensor, "cells roughness metallic lights 8"]


@torch.no_grad()
def reconsider(
    under: list[Pixels],
    lights: list[FittedLight],
    maps: TexturePyramid,
    shadows: Shadows | None,
    *,
    began_as_metal: bool = False,
) -> Recast:
    """Cells that another material explains far better under the present light.

    Args:
        under: Pixels in random order, under each light.
        lights: The lights.
        maps: The present material.
        shadows: What the mesh hides from itself; none takes neighbours in the texture for neighbours.
        began_as_metal: Whether all of it was taken for metal so far.
    """
    evidence = _evidence(under, lights, maps, shadows, metallic=METALLIC)
    cells = evidence.cells
    base, error = _best_base(evidence.sums[:, :, :, 0])
    values = maps(maps.centers(cells))
    wrong = _exchange_metals(values, base, error, began_as_metal=began_as_metal)
    rough = _agree_on_roughness(values, error)
    changed = wrong | rough
    return Recast(cells=cells[changed], values=values[changed])


@torch.no_grad()
def best_materials(
    under: list[Pixels],
    lights: list[FittedLight],
    maps: TexturePyramid,
    shadows: Shadows | None,
    *,
    metallic: tuple[float, ...],
) -> Recast:
    """What explains every cell best under the present light, each as `metallic` as one of the values told.

    The other arguments are as `reconsider` takes them.
    """
    evidence = _evidence(under, lights, maps, shadows, metallic=metallic)
    base, error = _best_base(evidence.sums[:, :, :, 0])
    if len(metallic) > 1:
        error = torch.where(_exist(base), error, torch.inf)
    return Recast(cells=evidence.cells, values=_values(base, error, metallic))


@torch.no_grad()
def left_with_metals(
    under: list[Pixels], lights: list[FittedLight], maps: TexturePyramid, shadows: Shadows | None
) -> float:
    """Error where places may be metals, of that of dielectrics alone.

    What a metal mirrors, a dark dielectric mirrors under a light that is many times too bright, and one cannot be
    told from the other; but beside paint, which scatters, the level of the light is not free, and neither suits.
    Arguments are as `reconsider` takes them, of a fit of dielectrics alone.
    """
    evidence = _evidence(under, lights, maps, shadows, metallic=(0.0, 1.0))
    base, error = _best_base(evidence.sums[:, :, :, 0])
    error = torch.where(_exist(base), error, torch.inf).amin(1)
    either, dielectric = ((e * evidence.count).sum() for e in (error.amin(1), error[:, 0]))
    return float(either / dielectric.clamp_min(1e-12))


@torch.no_grad()
def too_bright_by(
    under: list[Pixels],
    lights: list[FittedLight],
    maps: TexturePyramid,
    shadows: Shadows | None,
    *,
    metallic: tuple[float, ...],
) -> float:
    """How many times darker than thought the light is, each place as `metallic` as the best of the values told.

    The other arguments are as `reconsider` takes them.
    """
    evidence = _evidence(under, lights, maps, shadows, metallic=metallic, dimming=DIMMING)
    base, error = _best_base(evidence.sums)
    if len(metallic) > 1:
        error = torch.where(_exist(base), error, torch.inf)
    return DIMMING[int((error.amin((1, 2)) * evidence.count[:, None]).sum(0).argmin())]


def _evidence(
    under: list[Pixels],
    lights: list[FittedLight],
    maps: TexturePyramid,
    shadows: Shadows | None,
    *,
    metallic: tuple[float, ...],
    dimming: tuple[float, ...] = (1.0,),
) -> _Evidence:
    wanted = min(max(CELL_PIXELS * len(maps.levels[1]), SEARCH_PIXELS[0]), SEARCH_PIXELS[1])
    share = wanted / max(wanted, sum(len(pixels) for pixels in under))
    some = [pixels.batch(slice(max(1, int(share * len(pixels))))) for pixels in under]
    cells, cell_of = torch.unique(torch.cat([maps.cells(pixels.uv) for pixels in some]), return_inverse=True)
    place = torch.cat([pixels.uv if shadows is None else pixels.positions(shadows.vertices) for pixels in some])
    count = torch.bincount(cell_of, minlength=len(cells))
    center = place.new_zeros(len(cells), place.shape[1]).index_add_(0, cell_of, place) / count[:, None]
    sums = place.new_zeros(len(cells), len(ROUGHNESS), len(metallic), len(dimming), 8)
    first = 0
    for pixels, light in zip(some, lights, strict=True):
        for part in range(0, len(pixels), CHUNK):
            batch = pixels.batch(slice(part, part + CHUNK))
            of = cell_of[first : first + len(batch)]
            _accumulate(sums, of, batch, (light, shadows, maps), (metallic, dimming))
            first += len(batch)
    taking_part = torch.nonzero(count >= MIN_PIXELS)[:, 0]
    sums = _with_neighbours(sums[taking_part], center[taking_part])
    return _Evidence(cells=cells[taking_part], count=count[taking_part], sums=sums)


def _accumulate(
    sums: Float[Tensor, "cells roughness metallic lights 8"],
    cell_of: Int[Tensor, "pixels"],
    batch: Pixels,
    under: tuple[FittedLight, Shadows | None, TexturePyramid],
    grid: tuple[tuple[float, ...], tuple[float, ...]],
) -> None:
    """Add a batch to each cell's normal equations per hypothesis: 3 squares, 3 products, the rest, the pixels.

    Hypotheses are those of `ROUGHNESS` and, in `grid`, of `metallic` and of how many times darker the light is.
    """
    light, shadows, maps = under
    at_points = light.on(batch, shadows, maps, normal=batch.normal, renew=False)
    weight = (batch.target + 0.05).pow(-1.5) * (batch.target < 0.96)  # about what the loss's gamma makes of an error

    def shaded(base: float, roughness: float, metallic: float) -> Float[Tensor, "pixels 3"]:
        same = torch.ones_like(batch.target)
        radiance = shade(
            at_points,
            base_color=base * same,
            roughness=roughness * same[:, 0],
            metallic=metallic * same[:, 0],
            normal=batch.normal,
            wo=batch.wo,
        )
        return batch.exposed(radiance)

    least, most = min(grid[0]), max(grid[0])  # radiance is linear in between
    for r, roughness in enumerate(ROUGHNESS):
        shown = {end: [shaded(base, roughness, end) for base in (0.0, 1.0)] for end in {least, most}}
        for (m, part), (d, darker) in itertools.product(*(enumerate(values) for values in grid)):
            share = (part - least) / ((most - least) or 1.0)
            ends = zip(shown[least], shown[most], strict=True)
            black, white = (torch.lerp(x, y, share) / darker for x, y in ends)
            slope, target = white - black, batch.target - black
            rest = (weight * target * target).sum(1, keepdim=True)
            entry = [weight * slope * slope, weight * slope * target, rest, torch.ones_like(rest)]
            sums[:, r, m, d].index_add_(0, cell_of, torch.cat(entry, 1))


def _with_neighbours(
    sums: Float[Tensor, "cells *hypotheses 8"], center: Float[Tensor, "cells _"]
) -> Float[Tensor, "cells *hypotheses 8"]:
    """Sums over the cells around: a material is rarely one texel wide, and one texel's pixels are few."""
    reach = REACH * float((center.amax(0) - center.amin(0)).norm())
    count = min(NEIGHBOURS, len(center))
    distance, near = cKDTree(center.cpu().numpy()).query(center.cpu().numpy(), k=count)
    distance, near = (torch.from_numpy(x.reshape(-1, count)).to(sums.device) for x in (distance, near))
    weight = torch.exp(-0.5 * (distance / max(reach, 1e-12)).square()).to(sums.dtype)
    total = torch.zeros_like(sums)
    for k in range(count):
        total += weight[:, k].reshape(-1, *[1] * (sums.ndim - 1)) * sums[near[:, k]]
    return total


def _best_base(
    sums: Float[Tensor, "*hypotheses 8"],
) -> tuple[Float[Tensor, "*hypotheses 3"], Float[Tensor, "*hypotheses"]]:
    """The best base colour of each hypothesis, and the mean error of a pixel that it leaves."""
    squares, products, rest, count = sums[..., :3], sums[..., 3:6], sums[..., 6], sums[..., 7]
    base = (products / squares.clamp_min(1e-12)).clamp(0, 1)
    return base, (rest - (base * (2 * products - base * squares)).sum(-1)).clamp_min(0) / count.clamp_min(1e-12)


def _exist(
    base: Float[Tensor, "cells roughness metallic *lights 3"],
) -> Bool[Tensor, "cells roughness metallic *lights"]:
    """Which materials there are: metals are neither dark nor red, green or blue; none between gold, copper and grey.

    Such a metal mirrors in the light's colours what the paint of a deep colour scatters, and little speaks against it.
    """
    red, green, blue = base.unbind(-1)
    exist = (base.mean(-1) > METALS_REFLECT) & (green > METALS_GREEN * red)
    exist &= red > METALS_RED * torch.maximum(green, blue)
    exist[:, :, 0] = True
    return exist


def _exchange_metals(
    values: Float[Tensor, "cells 5"],
    base: Float[Tensor, "cells roughness metallic 3"],
    error: Float[Tensor, "cells roughness metallic"],
    *,
    began_as_metal: bool,
) -> Bool[Tensor, "cells"]:
    """Overwrite the values of cells that the other of metal and dielectric explains far better; returns which.

    Where all began as metal, one gives way to a dielectric that is better at all, unless its paint is far better
    explained as metal: the fit has lent the paints beside metal what suits a metal best.
    """
    error = torch.where(_exist(base), error, torch.inf)
    metal_now = values[:, 4] > METAL
    as_dielectric, as_metal = error[:, :, 0].amin(1), error[:, :, 1:].flatten(1).amin(1)
    now, other = torch.where(metal_now, as_metal, as_dielectric), torch.where(metal_now, as_dielectric, as_metal)
    wrong = other < SURE * now
    if began_as_metal:
        both = torch.stack([as_dielectric, torch.minimum(as_metal, NO_METAL * as_dielectric)], 1)
        paint_as_dielectric, paint_as_metal = _of_paint(values, both).unbind(1)
        wrong |= metal_now & (other < now) & (paint_as_dielectric < CONTRADICTED * paint_as_metal)
    error[~metal_now, :, 0] = torch.inf
    error[metal_now, :, 1:] = torch.inf
    values[wrong] = _values(base, error, METALLIC)[wrong]
    return wrong


def _values(
    base: Float[Tensor, "cells roughness metallic 3"],
    error: Float[Tensor, "cells roughness metallic"],
    metallic: tuple[float, ...],
) -> Float[Tensor, "cells 5"]:
    """Base colour, roughness and metallic of the hypothesis that leaves the least error."""
    best, cell = error.flatten(1).argmin(1), torch.arange(len(error), device=error.device)
    of_roughness, of_metallic = best // len(metallic), best % len(metallic)
    roughness, kind = base.new_tensor(ROUGHNESS)[of_roughness], base.new_tensor(metallic)[of_metallic]
    return torch.cat([base[cell, of_roughness, of_metallic], roughness[:, None], kind[:, None]], 1)


def _of_paint(
    values: Float[Tensor, "cells 5"], error: Float[Tensor, "cells *hypotheses"]
) -> Float[Tensor, "cells *hypotheses"]:
    """The mean errors of cells of like base colour, metals and dielectrics apart."""
    metal = values[:, 4] > METAL
    paint = torch.cat([torch.log(values[:, :3] + 0.03) / LIKE_PAINT, 10.0 * metal[:, None]], 1)
    anchors = torch.arange(0, len(values), max(1, len(values) // ANCHORS), device=values.device)
    pooled = torch.empty_like(error)
    for part in torch.arange(len(values), device=values.device).split(CHUNK // 8):
        weight = torch.exp(-0.5 * torch.cdist(paint[part], paint[anchors]).square())
        pooled[part] = weight @ error[anchors] / weight.sum(1, keepdim=True).clamp_min(1e-12)
    return pooled


def _agree_on_roughness(
    values: Float[Tensor, "cells 5"], error: Float[Tensor, "cells roughness metallic"]
) -> Bool[Tensor, "cells"]:
    """Overwrite roughness where the same paint elsewhere knows better; returns where.

    A place that mirrors nothing bright says next to nothing about its roughness, and a fit drifts there. What cells
    of like base colour leave unexplained at each roughness, on average, speaks along with the cell's own error:
    where that tells roughness apart, it wins.
    """
    metal = values[:, 4] > METAL
    own = torch.where(metal[:, None], error[:, :, 1:].amin(2), error[:, :, 0])
    pooled = _of_paint(values, own)
    best = values.new_tensor(ROUGHNESS)[(own + pooled).argmin(1)]
    other = (best - values[:, 3]).abs() > ROUGHNESS_STEP
    values[other, 3] = best[other]
    return other
