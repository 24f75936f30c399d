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

MIN_SEEN = 0.5  # a point outside the frame of more than half of the photos is not of the object


def hull_sdf(
    grid: TetGrid, cameras: list[Camera], distances: list[Float[np.ndarray, "_ _"]], *, dissent: float = 0.0
) -> Float[Tensor, "nx ny nz"]:
    """Signed distance to the visual hull at the points of `grid`, world units, negative inside.

    Photos say nothing about points outside their frame; points that few photos frame are outside.

    Args:
        grid: Where to evaluate.
        cameras: One per mask, for the mask's own size.
        distances: `outline.mask_distance` of each mask.
        dissent: Share of the views that frame a point which may exclude it without effect.
    """
    sizes = np.array([d.shape for d in distances], np.int64)
    padded = np.zeros((len(distances), *sizes.max(0)), np.float32)
    for view, distance in enumerate(distances):
        padded[view, : distance.shape[0], : distance.shape[1]] = distance
    image_from_world = np.stack([(c.K @ c.cam_from_world[:3]).numpy() for c in cameras])
    focal = np.array([float((c.K[0, 0] + c.K[1, 1]) / 2) for c in cameras])
    dissent = min(dissent, (_MAX_DISSENT - 1) / len(cameras))
    sdf = np.empty(grid.shape, np.float32)
    _hull_kernel(sdf, grid.origin.double().numpy(), grid.spacing, padded, sizes, image_from_world, focal, dissent)
    return torch.from_numpy(sdf)


_MAX_DISSENT = 16


@numba.njit(cache=True, parallel=True, fastmath=False)
@no_type_check
def _hull_kernel(sdf, origin, spacing, distances, sizes, image_from_world, focal, dissent):  # noqa: ANN001, ANN202, PLR0913  # one loop nest
    nx, ny, nz = sdf.shape
    views = len(focal)
    allowed = int(dissent * views + 1e-9)
    for i in numba.prange(nx):
        worst = np.empty(_MAX_DISSENT)
        for j in range(ny):
            for k in range(nz):
                px, py, pz = origin[0] + i * spacing, origin[1] + j * spacing, origin[2] + k * spacing
                seen = 0
                worst[:] = -1e9
                for v in range(views):
                    m = image_from_world[v]
                    w = m[2, 0] * px + m[2, 1] * py + m[2, 2] * pz + m[2, 3]
                    if w <= 1e-9:
                        continue
                    x = (m[0, 0] * px + m[0, 1] * py + m[0, 2] * pz + m[0, 3]) / w - 0.5
                    y = (m[1, 0] * px + m[1, 1] * py + m[1, 2] * pz + m[1, 3]) / w - 0.5
                    if x < 0 or y < 0 or x > sizes[v, 1] - 1 or y > sizes[v, 0] - 1:
                        continue
                    seen += 1
                    x0, y0 = min(int(x), sizes[v, 1] - 2), min(int(y), sizes[v, 0] - 2)
                    fx, fy = x - x0, y - y0
                    d = distances[v]
                    top = d[y0, x0] * (1 - fx) + d[y0, x0 + 1] * fx
                    bottom = d[y0 + 1, x0] * (1 - fx) + d[y0 + 1, x0 + 1] * fx
                    value = (top * (1 - fy) + bottom * fy) * w / focal[v]
                    # keep the largest allowed + 1 values, in falling order
                    slot = allowed
                    if value > worst[slot]:
                        while slot > 0 and worst[slot - 1] < value:
                            worst[slot] = worst[slot - 1]
                            slot -= 1
                        worst[slot] = value
                if seen < max(2.0, MIN_SEEN * views):
                    sdf[i, j, k] = spacing
                else:
                    sdf[i, j, k] = worst[int(dissent * seen + 1e-9)]


def hull_box(
    cameras: list[Camera],
    distances: list[Float[np.ndarray, "_ _"]],
    start: Float[Tensor, "2 3"],
    *,
    dissent: float = 0.0,
) -> Float[Tensor, "2 3"] | None:
    """The box of the hull, padded by 3 %, found on coarse grids from twice the box `start` inwards.

    Returns:
        The box, or none when no point is inside every mask.
    """
    box = torch.stack([start.mean(0) - (start[1] - start[0]), start.mean(0) + (start[1] - start[0])])
    for resolution in (65, 65, 97):
        grid = grid_in_box(box, resolution=resolution)
        # a cell may hold a part thinner than the cell: count points within half a cell's diagonal
        reach = 0.5 * math.sqrt(3) * grid.spacing
        near = (hull_sdf(grid, cameras, distances, dissent=dissent) < reach).nonzero()
        if len(near) == 0:
            return None
        low = grid.origin + (near.min(0).values - 1) * grid.spacing
        high = grid.origin + (near.max(0).values + 1) * grid.spacing
        box = torch.stack([torch.maximum(low, box[0]), torch.minimum(high, box[1])])
    pad = 0.03 * (box[1] - box[0]).max()
    return torch.stack([box[0] - pad, box[1] + pad])
