"""The plane that the object stands on, found among sparse points."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

TILT_DEG = 20.0  # the estimated up may be off by this much
REACH = 2.5  # points further than this from the vertical axis do not tell what the object stands on
LOWEST, HIGHEST = -1.7, -0.08  # height of the plane at the axis: below the point that all cameras look at
THICKNESS = 0.02  # distance of a point that is still on the plane


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
