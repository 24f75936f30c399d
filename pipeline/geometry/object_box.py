"""The box around the object: the hull of the masks, and the sparse points that lie inside them."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.geometry.visual_hull import COARSE, MIN_SEEN, hull_box
from pipeline.scene import Camera

LAX = 0.1  # share of the views that may be overruled while it is only asked how far to look
MAX_DOUBLINGS = 4
MIN_POINTS = 50  # fewer sparse points inside the masks say nothing
INSIDE = 0.9  # share of the masks that must hold a point which belongs to the object
STRAY = 0.01  # share of the points at each end of an axis that may be mistaken
POINT_PADDING = 0.03  # of the longest side of the points' box
MIN_CONTACT = 0.02  # of the frame's length: less is noise of the mask at its border


def search_box(
    cameras: list[Camera], distances: list[Float[np.ndarray, "_ _"]], start: Float[Tensor, "2 3"]
) -> tuple[Float[Tensor, "2 3"], Float[Tensor, "2 3"] | None]:
    """A box to look for the hull from: `start`, doubled until the hull keeps off the border of what is searched.

    Also the box of the hull there that up to a tenth of the views may not cut: stricter ones lie in it.

    Args:
        cameras: One per mask, for the mask's own size.
        distances: `outline.mask_distance` of each mask.
        start: Where the object is thought to be; `hull_box` searches twice of it.
    """
    for _ in range(MAX_DOUBLINGS):
        reach = _doubled(start)
        box = hull_box(cameras, distances, start, dissent=LAX, resolutions=COARSE)
        if box is not None and bool((box[0] > reach[0]).all() and (box[1] < reach[1]).all()):
            break
        start = reach
    return start, box


def object_box(
    cameras: list[Camera],
    distances: list[Float[np.ndarray, "_ _"]],
    start: Float[Tensor, "2 3"],
    *,
    dissent: float,
    points: Float[Tensor, "points 3"],
) -> Float[Tensor, "2 3"] | None:
    """The padded box of the hull and of the sparse points of the object, or none when the masks share no point.

    One mask that lacks a part cuts it from the hull; photos that match each other there still say it exists.

    Args:
        cameras: One per mask, for the mask's own size.
        distances: `outline.mask_distance` of each mask.
        start: From `search_box`.
        dissent: Share of the views that may be overruled about a point of the hull.
        points: Sparse points, world units; may be empty.
    """
    box = hull_box(cameras, distances, start, dissent=dissent)
    if box is None:
        return None
    inside = points[points_in_masks(points, cameras, distances)]
    if len(inside) < MIN_POINTS:
        return box
    ends = torch.quantile(inside.double(), torch.tensor([STRAY, 1 - STRAY], dtype=torch.float64), dim=0)
    pad = POINT_PADDING * (ends[1] - ends[0]).max()
    return torch.stack([torch.minimum(box[0], ends[0] - pad), torch.maximum(box[1], ends[1] + pad)])


def points_in_masks(
    points: Float[Tensor, "points 3"], cameras: list[Camera], distances: list[Float[np.ndarray, "_ _"]]
) -> torch.Tensor:
    """Which points lie inside nearly all masks whose photos frame them, and are framed by enough photos."""
    seen, held = torch.zeros(len(points)), torch.zeros(len(points))
    for camera, distance in zip(cameras, distances, strict=True):
        pixels, depth = camera.project(points)
        column, row = pixels[:, 0].floor(), pixels[:, 1].floor()
        framed = (depth > 0) & (column >= 0) & (row >= 0) & (column < camera.width) & (row < camera.height)
        inside = torch.from_numpy(distance)[row[framed].long(), column[framed].long()] < 0
        seen += framed
        held[framed] += inside.float()
    return (seen >= max(2.0, MIN_SEEN * len(cameras))) & (held >= INSIDE * seen)


def frame_contact(distance: Float[np.ndarray, "height width"]) -> float:
    """The share of the photo's frame at which the object goes on outside of it."""
    frame = np.concatenate([distance[0], distance[-1], distance[1:-1, 0], distance[1:-1, -1]])
    return float((frame < 0).mean())


def _doubled(box: Float[Tensor, "2 3"]) -> Float[Tensor, "2 3"]:
    half = box[1] - box[0]
    return torch.stack([box.mean(0) - half, box.mean(0) + half])
