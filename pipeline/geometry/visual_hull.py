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


@numba.njit(error_model="numpy")
@no_type_check
def _exclude(worst, seen, row, distances, size, m, focal, band):  # noqa: ANN001, ANN202, PLR0913  # part of the kernel
    """Insert by how much a view excludes the points of a row, world units, where it frames them.

    Points that are out already are left alone; returns how many are not.
    """
    x, y, z, spacing = row
    last, left = worst.shape[1] - 1, 0
    column = m[0, 0] * x + m[0, 1] * y + m[0, 3]
    line = m[1, 0] * x + m[1, 1] * y + m[1, 3]
    depth = m[2, 0] * x + m[2, 1] * y + m[2, 3]
    for k in range(len(seen)):
        if worst[k, last] > band:
            continue
        left += 1
        at = z + k * spacing
        w = depth + m[2, 2] * at
        if w <= 1e-9:
            continue
        u, v = (column + m[0, 2] * at) / w - 0.5, (line + m[1, 2] * at) / w - 0.5
        if u < 0 or v < 0 or u > size[1] - 1 or v > size[0] - 1:
            continue
        u0, v0 = min(int(u), size[1] - 2), min(int(v), size[0] - 2)
        fu, fv = u - u0, v - v0
        top = distances[v0, u0] * (1 - fu) + distances[v0, u0 + 1] * fu
        bottom = distances[v0 + 1, u0] * (1 - fu) + distances[v0 + 1, u0 + 1] * fu
        seen[k] += 1
        _insert(worst[k], last, (top * (1 - fv) + bottom * fv) * w / focal)
    return left


@numba.njit(cache=True, parallel=True, error_model="numpy")
@no_type_check
def _hull_kernel(sdf, grid, distances, sizes, image_from_world, focal, limits):  # noqa: ANN001, ANN202, PLR0913  # one loop nest
    origin, spacing = grid
    dissent, band = limits
    views, depth = len(focal), sdf.shape[2]
    for i in numba.prange(sdf.shape[0]):
        worst, seen = np.empty((depth, int(dissent * views + 1e-9) + 1)), np.empty(depth, np.int64)
        for j in range(sdf.shape[1]):
            worst[:] = -1e9
            seen[:] = 0
            row = (origin[0] + i * spacing, origin[1] + j * spacing, origin[2], spacing)
            for v in range(views):  # a row of points at a time: its pixels lie side by side, its matrix in registers
                if _exclude(worst, seen, row, distances[v], sizes[v], image_from_world[v], focal[v], band) == 0:
                    break
            for k in range(depth):
                if worst[k, -1] > band:
                    sdf[i, j, k] = worst[k, -1]
                elif seen[k] < max(2.0, MIN_SEEN * views):
                    sdf[i, j, k] = spacing
                else:
                    sdf[i, j, k] = worst[k, int(dissent * seen[k] + 1e-9)]


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
