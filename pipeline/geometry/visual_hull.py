"""The visual hull: what no mask excludes, as signed distances on a grid.

Laurentini (1994), with antialiased masks: a point's distance to the object's outline in each photo, brought
to world units, is largest in the view that excludes it most.
"""

import math
from typing import no_type_check

import numba
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.geometry.tet_grid import TetGrid, grid_in_box
from pipeline.scene import Camera

BAND = 3.0  # cells from the surface within which marching tetrahedra and stereo ask for distances
FINE, COARSE = (65, 65, 97), (33, 49)  # grids on which a box is found: the object's own, or where to look
GOLDEN = (math.sqrt(5) - 1) / 2
MIN_SEEN = 0.5  # a point outside the frame of more than half of the photos is not of the object


def hull_sdf(
    grid: TetGrid,
    cameras: list[Camera],
    distances: list[Float[np.ndarray, "_ _"]],
    *,
    dissent: float = 0.0,
    band: float = math.inf,
) -> Float[Tensor, "nx ny nz"]:
    """Signed distance to the visual hull at the points of `grid`, world units, negative inside.

    Photos say nothing about points outside their frame; points that few photos frame are outside.

    Args:
        grid: Where to evaluate.
        cameras: One per mask, for the mask's own size.
        distances: `outline.mask_distance` of each mask.
        dissent: Share of the views that frame a point which may exclude it without effect.
        band: Points farther outside than this, world units, may be told any distance beyond it, which is sooner done.
    """
    order = np.argsort(np.arange(len(cameras)) * GOLDEN % 1)  # photos in turn see a point from all sides
    cameras, distances = [cameras[k] for k in order], [distances[k] for k in order]
    sizes = np.array([d.shape for d in distances], np.int64)
    padded = np.zeros((len(distances), *sizes.max(0)), np.float32)
    for view, distance in enumerate(distances):
        padded[view, : distance.shape[0], : distance.shape[1]] = distance
    image_from_world = np.stack([(c.K @ c.cam_from_world[:3]).numpy() for c in cameras])
    focal = np.array([float((c.K[0, 0] + c.K[1, 1]) / 2) for c in cameras])
    dissent = min(dissent, (_MAX_DISSENT - 1) / len(cameras))
    sdf = np.empty(grid.shape, np.float32)
    where = (grid.origin.double().numpy(), grid.spacing)
    _hull_kernel(sdf, where, padded, sizes, image_from_world, focal, (dissent, band))
    return torch.from_numpy(sdf)


_MAX_DISSENT = 16


@numba.njit(error_model="numpy")
@no_type_check
def _exclusion(distances, size, m, focal, v, p):  # noqa: ANN001, ANN202  # part of the kernel
    """By how much view v excludes a point, world units; nan when it does not frame it."""
    w = m[v, 2, 0] * p[0] + m[v, 2, 1] * p[1] + m[v, 2, 2] * p[2] + m[v, 2, 3]
    if w <= 1e-9:
        return np.nan
    x = (m[v, 0, 0] * p[0] + m[v, 0, 1] * p[1] + m[v, 0, 2] * p[2] + m[v, 0, 3]) / w - 0.5
    y = (m[v, 1, 0] * p[0] + m[v, 1, 1] * p[1] + m[v, 1, 2] * p[2] + m[v, 1, 3]) / w - 0.5
    if x < 0 or y < 0 or x > size[v, 1] - 1 or y > size[v, 0] - 1:
        return np.nan
    x0, y0 = min(int(x), size[v, 1] - 2), min(int(y), size[v, 0] - 2)
    fx, fy = x - x0, y - y0
    top = distances[v, y0, x0] * (1 - fx) + distances[v, y0, x0 + 1] * fx
    bottom = distances[v, y0 + 1, x0] * (1 - fx) + distances[v, y0 + 1, x0 + 1] * fx
    return (top * (1 - fy) + bottom * fy) * w / focal[v]


@numba.njit
@no_type_check
def _insert(largest, last, value):  # noqa: ANN001, ANN202  # part of the kernel
    """Keep the largest values, in falling order, up to the place `last`."""
    slot = last
    if value > largest[slot]:
        while slot > 0 and largest[slot - 1] < value:
            largest[slot] = largest[slot - 1]
            slot -= 1
        largest[slot] = value


@numba.njit(cache=True, parallel=True, error_model="numpy")
@no_type_check
def _hull_kernel(sdf, grid, distances, sizes, image_from_world, focal, limits):  # noqa: ANN001, ANN202, PLR0913  # one loop nest
    origin, spacing = grid
    dissent, band = limits
    views = len(focal)
    allowed = int(dissent * views + 1e-9)
    for i in numba.prange(sdf.shape[0]):
        worst = np.empty(_MAX_DISSENT)
        for j in range(sdf.shape[1]):
            for k in range(sdf.shape[2]):
                point = (origin[0] + i * spacing, origin[1] + j * spacing, origin[2] + k * spacing)
                seen = 0
                worst[:] = -1e9
                for v in range(views):
                    value = _exclusion(distances, sizes, image_from_world, focal, v, point)
                    if np.isnan(value):
                        continue
                    seen += 1
                    _insert(worst, allowed, value)
                    if worst[allowed] > band:
                        break
                if worst[allowed] > band:
                    sdf[i, j, k] = worst[allowed]
                elif seen < max(2.0, MIN_SEEN * views):
                    sdf[i, j, k] = spacing
                else:
                    sdf[i, j, k] = worst[int(dissent * seen + 1e-9)]


def hull_box(
    cameras: list[Camera],
    distances: list[Float[np.ndarray, "_ _"]],
    start: Float[Tensor, "2 3"],
    *,
    dissent: float = 0.0,
    resolutions: tuple[int, ...] = FINE,
) -> Float[Tensor, "2 3"] | None:
    """The box of the hull, padded by 3 %, found on coarse grids from twice the box `start` inwards.

    Args:
        cameras: One per mask, for the mask's own size.
        distances: `outline.mask_distance` of each mask.
        start: The box that is searched, when it is doubled.
        dissent: Share of the views that frame a point which may exclude it without effect.
        resolutions: Of the grids, each in the box that the one before found: coarse ones find a looser box, sooner.

    Returns:
        The box, or none when no point is inside every mask.
    """
    box = torch.stack([start.mean(0) - (start[1] - start[0]), start.mean(0) + (start[1] - start[0])])
    for resolution in resolutions:
        grid = grid_in_box(box, resolution=resolution)
        # a cell may hold a part thinner than the cell: count points within half a cell's diagonal
        reach = 0.5 * math.sqrt(3) * grid.spacing
        near = (hull_sdf(grid, cameras, distances, dissent=dissent, band=reach) < reach).nonzero()
        if len(near) == 0:
            return None
        low = grid.origin + (near.min(0).values - 1) * grid.spacing
        high = grid.origin + (near.max(0).values + 1) * grid.spacing
        box = torch.stack([torch.maximum(low, box[0]), torch.minimum(high, box[1])])
    pad = 0.03 * (box[1] - box[0]).max()
    return torch.stack([box[0] - pad, box[1] + pad])
