"""The plane that the object stands on: found among sparse points, and how it looks without the object."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float

from pipeline.stages.masks_views import WorkView, look_up, project, rays

TILT_DEG = 20.0  # the estimated up may be off by this much
REACH = 2.5  # points further than this from the vertical axis do not tell what the object stands on
LOWEST, HIGHEST = -1.7, -0.08  # height of the plane at the axis: below the point that all cameras look at
THICKNESS = 0.02  # distance of a point that is still on the plane
TEXELS, EXTENT = 400, 2.0  # the orthophoto: its size in pixels, and half of it in world units
MAX_VIEWS = 32  # views that vote about the look of the plane
UNSEEN = 1e4  # spread of what fewer than four photos see
NOISE = 3.0  # L*a*b* units between two photos of the same spot, at least


@dataclass(frozen=True, eq=False, kw_only=True)
class Plane:
    """The points x with normal . x = offset; the normal is of unit length and points up."""

    normal: Float[np.ndarray, "3"]
    offset: float

    def heights(self, points: Float[np.ndarray, "*shape 3"]) -> Float[np.ndarray, "*shape"]:
        """Signed distance of points, positive above."""
        return points @ self.normal - self.offset

    def points(self, x: Float[np.ndarray, "*shape"], z: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape 3"]:
        """The points of the plane straight below or above (x, z)."""
        y = (self.offset - self.normal[0] * x - self.normal[2] * z) / self.normal[1]
        return np.stack([x, y, z], -1)


@dataclass(frozen=True, eq=False, kw_only=True)
class Support:
    """The plane and its look: L*a*b* colour and its spread (standard deviation) at texels of x and z."""

    plane: Plane
    low: Float[np.ndarray, "texels texels 3"]
    high: Float[np.ndarray, "texels texels 3"]
    spread: Float[np.ndarray, "texels texels"]


def find_plane(points: Float[np.ndarray, "points 3"], seed: int) -> Plane | None:
    """The nearly level plane below the origin that holds the widest area of points, or none.

    RANSAC (Fischler and Bolles 1981). Area, not number: a printed page has more points than a whole table.
    A plane that much is seen through holds nothing up.
    """
    near = points[(np.hypot(points[:, 0], points[:, 2]) < REACH) & (points[:, 1] < 0.5) & (points[:, 1] > -2.5)]
    if len(near) < 60:
        return None
    generator = np.random.default_rng(seed)
    best, best_score = None, 0.0
    for _ in range(600):
        plane = _plane_through(near[generator.choice(len(near), 3, replace=False)])
        if plane is None:
            continue
        score = _score(plane, near)
        if score > best_score:
            best, best_score = plane, score
    if best is None or best_score < 25:
        return None
    return _refitted(best, near)


def _plane_through(corners: Float[np.ndarray, "3 3"]) -> Plane | None:
    """The plane through three points, when it is nearly level and below the origin."""
    normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
    length = float(np.linalg.norm(normal))
    if length < 1e-3:
        return None
    normal = normal / length * (1.0 if normal[1] >= 0 else -1.0)
    plane = Plane(normal=normal, offset=float(normal @ corners[0]))
    level = normal[1] > np.cos(np.radians(TILT_DEG))
    return plane if level and LOWEST < plane.offset / normal[1] < HIGHEST else None


def _score(plane: Plane, points: Float[np.ndarray, "points 3"]) -> float:
    """Cells of 0.15 units with a point on the plane, less those with points below it."""
    heights = plane.heights(points)
    cells = np.floor(points[:, [0, 2]] / 0.15).astype(np.int64) @ np.array([1000, 1])
    on, below = cells[np.abs(heights) < THICKNESS], cells[heights < -3 * THICKNESS]
    return float(len(np.unique(on)) - len(np.unique(below)))


def _refitted(plane: Plane, points: Float[np.ndarray, "points 3"]) -> Plane:
    """The least-squares plane of the points on `plane`."""
    for _ in range(3):
        on = points[np.abs(plane.heights(points)) < THICKNESS]
        normal = np.linalg.svd(on - on.mean(0), full_matrices=False)[2][2]
        normal = normal * (1.0 if normal[1] >= 0 else -1.0)
        plane = Plane(normal=normal, offset=float(np.median(on @ normal)))
    return plane


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
