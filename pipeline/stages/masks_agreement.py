"""How far the masks of a capture agree, and so how strictly the hull may carve.

One photo whose mask or pose is a little off carves a slice out of the hull that no other photo can give back.
Letting a few views be overruled keeps such slices, but fattens a hull whose masks are exact. Which is right
is measured: the hull's own silhouettes must look like the masks, but for a few masks that may be wrong altogether.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.geometry.marching_tetrahedra import marching_tetrahedra
from pipeline.geometry.tet_grid import TetGrid, grid_in_box
from pipeline.geometry.visual_hull import BAND, hull_sdf
from pipeline.raster.gbuffer import clip_positions, depth_range
from pipeline.raster.rasterizer import Rasterizer
from pipeline.scene import Camera

CANDIDATES = (0.0, 0.03, 0.06, 0.1)
RESOLUTION = 65
SILHOUETTE_PX = 200
WRONG = 0.2  # share of the masks, those that fit worst, that have no say: overruled or not, they fit no better
TOLERANCE = 0.002  # a stricter hull wins unless a laxer one's silhouettes are better by this IoU


def measure_dissent(
    cameras: list[Camera],
    distances: list[Float[np.ndarray, "_ _"]],
    box: Float[Tensor, "2 3"] | None,
    rasterizer: Rasterizer,
) -> tuple[float, float]:
    """The share of views that may be overruled, and the mean IoU of silhouettes and masks with it.

    Args:
        cameras: One per mask, for the mask's own size.
        distances: Signed distances to the outlines, pixels.
        box: Of the laxest hull; none when that is empty.
        rasterizer: Draws the silhouettes.
    """
    if box is None:
        return 0.0, 0.0
    grid = grid_in_box(box, resolution=RESOLUTION)
    scores: dict[int, tuple[float, float, float]] = {}
    before = 0.0
    for share in CANDIDATES:
        views = int(share * len(cameras))  # small captures: several shares mean the same number of views
        if views in scores:
            continue
        ious = sorted(_silhouette_ious(cameras, distances, grid, rasterizer, dissent=share))
        fitting = ious[int(WRONG * len(ious)) :]
        scores[views] = (sum(fitting) / len(fitting), share, sum(ious) / len(ious))
        if scores[views][0] < before - TOLERANCE:
            break  # too lax already, and laxer hulls are fatter still
        before = scores[views][0]
    best = max(score for score, _, _ in scores.values())
    return next((share, iou) for _, (score, share, iou) in sorted(scores.items()) if score >= best - TOLERANCE)


def _silhouette_ious(
    cameras: list[Camera],
    distances: list[Float[np.ndarray, "_ _"]],
    grid: TetGrid,
    rasterizer: Rasterizer,
    *,
    dissent: float,
) -> list[float]:
    sdf = hull_sdf(grid, cameras, distances, dissent=dissent, band=BAND * grid.spacing)
    if not bool((sdf < 0).any()):
        return [0.0] * len(cameras)
    vertices, faces = marching_tetrahedra(sdf, grid)
    ious = []
    for camera, distance in zip(cameras, distances, strict=True):
        small = camera.scaled(min(1.0, SILHOUETTE_PX / max(camera.width, camera.height)))
        near, far = depth_range(vertices, small)
        clip = clip_positions(vertices.float(), small, near=near, far=far)
        drawn = rasterizer.rasterize(clip, faces, size_px=(small.width, small.height)).mask[0]
        rows = ((torch.arange(small.height) + 0.5) * camera.height / small.height).long()
        columns = ((torch.arange(small.width) + 0.5) * camera.width / small.width).long()
        given = torch.from_numpy(distance)[rows][:, columns] < 0
        ious.append(float((drawn & given).sum()) / max(float((drawn | given).sum()), 1.0))
    return ious
