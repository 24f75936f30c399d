"""Points in space from their places in several photos, and the scale between two sets of points."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from pipeline.scene import Camera

MIN_ANGLE_DEG = 2.0  # rays that meet at less say little about depth
PAIRS = 60  # pairs of rays that are tried


@dataclass(frozen=True, eq=False, kw_only=True)
class Triangulated:
    """A point in world units, which of its photos agree on it, and by how many pixels these miss it (rms)."""

    point: Float[np.ndarray, "3"]
    agrees: Bool[np.ndarray, "views"]
    error_px: float


def triangulate(cameras: list[Camera], pixels: Float[np.ndarray, "views 2"], *, limit_px: float) -> Triangulated | None:
    """The point that most photos agree on, or none when fewer than two do.

    Pairs of photos propose a point; the proposal that most photos see within `limit_px` wins and is refitted to them
    (RANSAC, Fischler and Bolles 1981; linear triangulation, Hartley and Zisserman 2004, section 12.2).

    Args:
        cameras: Of the photos that show it.
        pixels: Where, x and y, corner-based.
        limit_px: How far a photo's pixel may be from the point's projection.
    """
    image_from_world = np.stack([(c.K @ c.cam_from_world[:3]).numpy() for c in cameras])
    rays = np.stack([_ray(c, p) for c, p in zip(cameras, pixels, strict=True)])
    first, second = np.triu_indices(len(cameras), 1)
    cosines = (rays[first] * rays[second]).sum(1)
    order = np.argsort(cosines)  # the widest angles first
    order = order[cosines[order] < np.cos(np.radians(MIN_ANGLE_DEG))]
    best: Bool[np.ndarray, views] = np.zeros(len(cameras), bool)
    for pair in order[:: max(1, len(order) // PAIRS)]:
        chosen = [first[pair], second[pair]]
        agrees = _misses(image_from_world, pixels, _meet(image_from_world[chosen], pixels[chosen])) < limit_px
        if agrees.sum() > best.sum():
            best = agrees
    if best.sum() < 2:
        return None
    for _ in range(2):
        point = _meet(image_from_world[best], pixels[best])
        misses = _misses(image_from_world, pixels, point)
        best = best & (misses < limit_px)
        if best.sum() < 2:
            return None
    return Triangulated(point=point, agrees=best, error_px=float(np.sqrt(np.square(misses[best]).mean())))


def similarity_scale(
    points: Float[np.ndarray, "points 3"], layout: Float[np.ndarray, "points 3"]
) -> tuple[float, float]:
    """The factor from `points` to `layout` under the best similarity, and the rms rest in units of `layout`.

    Umeyama (1991), equations 40 to 42. Both sets may lie in a plane.
    """
    a, b = points - points.mean(0), layout - layout.mean(0)
    u, singular, v = np.linalg.svd(b.T @ a / len(a))
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u) * np.linalg.det(v)) or 1.0])
    scale = float((singular * signs).sum() / np.square(a).sum(1).mean())
    rest = b - scale * a @ (u * signs @ v).T
    return scale, float(np.sqrt(np.square(rest).sum(1).mean()))


def _ray(camera: Camera, pixel: Float[np.ndarray, "2"]) -> Float[np.ndarray, "3"]:
    """Unit direction in the world through a pixel."""
    direction = np.linalg.solve(camera.K.numpy(), np.append(pixel, 1.0)) @ camera.cam_from_world[:3, :3].numpy()
    return direction / np.linalg.norm(direction)


def _meet(
    image_from_world: Float[np.ndarray, "views 3 4"], pixels: Float[np.ndarray, "views 2"]
) -> Float[np.ndarray, "3"]:
    """The linear solution, each equation divided by the depth that the one before found: pixels are minimised."""
    equations = pixels[:, :, None] * image_from_world[:, 2:3] - image_from_world[:, :2]
    weights = np.ones(len(pixels))
    for _ in range(3):
        rows = (equations * weights[:, None, None]).reshape(-1, 4)
        point = np.linalg.lstsq(rows[:, :3], -rows[:, 3], rcond=None)[0]
        depth = image_from_world[:, 2, :3] @ point + image_from_world[:, 2, 3]
        weights = 1 / np.maximum(np.abs(depth), 1e-9)
    return point


def _misses(
    image_from_world: Float[np.ndarray, "views 3 4"], pixels: Float[np.ndarray, "views 2"], point: np.ndarray
) -> Float[np.ndarray, "views"]:
    """Distance in pixels of the point's projections; infinite behind a camera."""
    image = image_from_world[:, :, :3] @ point + image_from_world[:, :, 3]
    depth = np.where(image[:, 2] > 1e-9, image[:, 2], np.nan)
    misses = np.linalg.norm(image[:, :2] / depth[:, None] - pixels, axis=1)
    return np.where(np.isfinite(misses), misses, np.inf)
