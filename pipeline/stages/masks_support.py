"""How the plane that the object stands on looks without the object."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float

from pipeline.geometry.support_plane import Plane
from pipeline.stages.masks_views import WorkView, look_up, project, rays

TEXELS, EXTENT = 400, 2.0  # the orthophoto: its size in pixels, and half of it in world units
MAX_VIEWS = 32  # views that vote about the look of the plane
UNSEEN = 1e4  # spread of what fewer than four photos see
NOISE = 3.0  # L*a*b* units between two photos of the same spot, at least


@dataclass(frozen=True, eq=False, kw_only=True)
class Support:
    """The plane and its look: L*a*b* colour and its spread (standard deviation) at texels of x and z."""

    plane: Plane
    low: Float[np.ndarray, "texels texels 3"]
    high: Float[np.ndarray, "texels texels 3"]
    spread: Float[np.ndarray, "texels texels"]


def photograph(plane: Plane, views: list[WorkView], covered: list[Float[np.ndarray, "_ _"]] | None = None) -> Support:
    """The plane's look as the median over the photos: what stands on it covers each spot in few of them.

    Args:
        plane: Where it is.
        views: The photos.
        covered: Where each photo may show the object instead, from 0 to 1.
    """
    every = max(1, -(-len(views) // MAX_VIEWS))
    chosen, masks = views[::every], None if covered is None else covered[::every]
    axis = (np.arange(TEXELS) + 0.5) / TEXELS * 2 * EXTENT - EXTENT
    x, z = np.meshgrid(axis, axis)
    corners = plane.points(x, z).reshape(-1, 3)
    samples = np.full((len(chosen), TEXELS * TEXELS, 3), np.nan, np.float32)
    for index, view in enumerate(chosen):
        pixels = project(view.camera, corners)
        where = pixels[:, :2].reshape(TEXELS, TEXELS, 2)
        seen = look_up(view.lab, where).reshape(-1, 3)
        height, width = view.shape
        inside = (pixels[:, 0] > 1) & (pixels[:, 0] < width - 1) & (pixels[:, 1] > 1) & (pixels[:, 1] < height - 1)
        if masks is not None:
            inside &= look_up(masks[index], where).reshape(-1) < 0.5
        samples[index, inside] = seen[inside]
    color, spread = _median_and_spread(samples)
    color, spread = color.reshape(TEXELS, TEXELS, 3), spread.reshape(TEXELS, TEXELS)
    kernel = np.ones((5, 5), np.uint8)
    return Support(plane=plane, low=cv2.erode(color, kernel), high=cv2.dilate(color, kernel), spread=spread)


def _median_and_spread(
    samples: Float[np.ndarray, "views texels 3"],
) -> tuple[Float[np.ndarray, "texels 3"], Float[np.ndarray, "texels"]]:
    """Median over the views that see a texel, and 1.48 times the absolute deviation; `UNSEEN` below 4 views."""
    count = (~np.isnan(samples[:, :, 0])).sum(0)
    order = np.sort(samples, axis=0)  # nan goes last
    texels = np.arange(samples.shape[1])
    middle = np.clip((count - 1) // 2, 0, None)
    color = order[middle, texels]
    deviation = np.sort(np.abs(samples - color).max(-1), axis=0)[middle, texels]
    spread = np.where(count >= 4, np.maximum(1.48 * deviation, NOISE), UNSEEN)
    return np.nan_to_num(color), spread.astype(np.float32)


def support_density(support: Support, view: WorkView) -> Float[np.ndarray, "height width"]:
    """Probability per cubic unit of L*a*b* of each pixel's colour if the pixel shows the support; 0 beyond it.

    Colours between those of neighbouring texels are as good as equal: poses are right to a pixel or so.
    """
    directions = rays(view.camera)
    center = view.camera.camera_center.numpy()
    normal, offset = support.plane.normal, support.plane.offset
    slope = directions @ normal
    distance = np.where(slope < -0.03, (offset - center @ normal) / np.where(slope < -0.03, slope, 1), -1)
    hit = center + distance[..., None] * directions
    texel = (hit[..., [0, 2]] + EXTENT) / (2 * EXTENT) * TEXELS
    valid = (distance > 0) & (np.abs(hit[..., [0, 2]]).max(-1) < EXTENT)
    where = np.where(valid[..., None], texel, 0)
    low, high = look_up(support.low, where), look_up(support.high, where)
    spread = look_up(support.spread, where)
    residual = np.maximum(np.maximum(low - view.lab, view.lab - high), 0)
    valid &= spread < UNSEEN / 10
    sigma = np.where(valid, spread, 1.0)
    # one where the colour is between low and high, falling off like a Gaussian beyond
    volume = (high - low + (sigma * np.sqrt(2 * np.pi))[..., None]).prod(-1)
    density = np.exp(-0.5 * (residual**2).sum(-1) / sigma**2) / volume
    return np.where(valid, density, 0).astype(np.float32)
