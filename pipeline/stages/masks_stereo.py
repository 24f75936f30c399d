"""Where texture lies, by plane-sweep stereo: in the middle above the support, on it, or beyond."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float

from pipeline.formats.resample import resize
from pipeline.geometry.support_plane import Plane
from pipeline.scene import Camera
from pipeline.stages.masks_views import WorkView, in_parallel, rays, transfer
from pipeline.stages.masks_volume import Volume

SWEEP_PX = 320  # long side of the images that are matched
WINDOW_PX = 7
REGION = 1.6  # radius of the ball around the look-at point that may hold the object
CERTAIN = 1.0, 1.3  # matches up to here are of the object at first, and beyond there may be
CLEARANCE = 0.03  # height above the support from which matches count as object
NEAREST_DEG, FURTHEST_DEG, WANTED_DEG = 4.0, 35.0, 12.0  # angle between two views that are matched
PARTNERS = 3
STEP_PX = 1.5  # disparity between neighbouring depths
FLAT = 2.0  # variance of L* that is noise
SURE = 0.5  # evidence of a match that others may rely on
MATCH = 0.5  # a correlation below it is no match


@dataclass(frozen=True, eq=False, kw_only=True)
class Matches:
    """What stereo found for one photo, at matching size.

    Attributes:
        camera: The camera at this size.
        depth: Of each pixel's best match inside of the object's region, along the axis; 0 where there is none.
        evidence: From 0, no match inside of the region or a better one outside, to 1; negative: outside.
    """

    camera: Camera
    depth: Float[np.ndarray, "rows columns"]
    evidence: Float[np.ndarray, "rows columns"]

    def points(self) -> Float[np.ndarray, "rows columns 3"]:
        """World positions of the matches."""
        directions = rays(self.camera)
        distance = self.depth / (directions @ self.camera.forward.numpy())
        return self.camera.camera_center.numpy() + directions * distance[..., None]

    def surface(self, camera: Camera) -> Float[np.ndarray, "height width"]:
        """Depth of sure matches as another camera at the same place sees it; 0 elsewhere."""
        sure = np.where(self.evidence > SURE, self.depth, 0).astype(np.float32)
        return transfer(sure, self.camera, camera, nearest=True)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Small:
    camera: Camera
    gray: Float[np.ndarray, "height width"]


def match_views(views: list[WorkView], plane: Plane | None, threads: int) -> list[Matches]:
    """Match each photo with its neighbours over all depths (Collins 1996) and against the support's plane."""
    small = [_shrunk(v) for v in views]
    partners = _partners(small)
    return in_parallel(lambda i: _match(small[i], [small[j] for j in partners[i]], plane), range(len(views)), threads)


def stereo_evidence(matches: Matches, volume: Volume | None, view: WorkView) -> Float[np.ndarray, "height width"]:
    """Evidence in [-1, 1] per pixel that its texture lies on the object; 0 where nothing matches.

    Args:
        matches: What stereo found.
        volume: Where the object may be; none takes the ball that fits into the photos. What lies in the ball
            but not in the volume is left open: the volume may yet grow.
        view: The photo, for the size of the result.
    """
    points = matches.points()
    certain = np.clip((CERTAIN[1] - np.linalg.norm(points, axis=-1)) / (CERTAIN[1] - CERTAIN[0]), 0, 1)
    if volume is None:
        inside = certain
    else:
        occupied = volume.at(points)
        inside = occupied - (1 - occupied) * (1 - certain)
    evidence = np.where(matches.evidence > 0, matches.evidence * inside, matches.evidence).astype(np.float32)
    return transfer(cv2.GaussianBlur(evidence, (0, 0), 1.0), matches.camera, view.camera)


def _shrunk(view: WorkView) -> _Small:
    camera = view.camera.scaled(min(1.0, SWEEP_PX / max(view.shape)))
    return _Small(camera=camera, gray=resize(np.ascontiguousarray(view.lab[..., 0]), camera.width, camera.height))


def _partners(views: list[_Small]) -> list[list[int]]:
    """For each view the ones that see the origin from a little aside."""
    centers = np.stack([v.camera.camera_center.numpy() for v in views])
    directions = centers / np.linalg.norm(centers, axis=1, keepdims=True)
    angles = np.degrees(np.arccos(np.clip(directions @ directions.T, -1, 1)))
    result = []
    for row in angles:
        fit = np.flatnonzero((row > NEAREST_DEG) & (row < FURTHEST_DEG))
        result.append(fit[np.argsort(np.abs(row[fit] - WANTED_DEG), kind="stable")][:PARTNERS].tolist())
    return result


def _match(view: _Small, partners: list[_Small], plane: Plane | None) -> Matches:
    """Sweep one photo."""
    shape = view.gray.shape
    enter, leave = _region(view.camera, plane)
    mean, deviation = _moments(view.gray)
    inside, outside = np.zeros(shape, np.float32), np.full(shape, MATCH, np.float32)
    where = np.zeros(shape, np.float32)
    for depth in _depths(view.camera, partners):
        score = _score(view, mean, deviation, partners, np.array([0.0, 0.0, 1 / depth]))
        within = (depth > enter) & (depth < leave)
        better = within & (score > inside)
        inside[better] = score[better]
        where[better] = depth
        np.maximum(outside, score, out=outside, where=~within)
    if plane is not None and partners:
        normal = view.camera.cam_from_world[:3, :3].numpy() @ plane.normal
        distance = plane.offset - float(plane.normal @ view.camera.camera_center.numpy())
        np.maximum(outside, _score(view, mean, deviation, partners, normal / distance), out=outside)
    inside = np.maximum(inside, MATCH)
    matched = np.clip((np.maximum(inside, outside) - MATCH) / 0.2, 0, 1)
    evidence = matched * np.clip(5 * (inside - outside), -1, 1)
    return Matches(camera=view.camera, depth=where, evidence=evidence.astype(np.float32))


def _region(
    camera: Camera, plane: Plane | None
) -> tuple[Float[np.ndarray, "height width"], Float[np.ndarray, "height width"]]:
    """Depths at which each pixel's ray enters and leaves the object's region; equal where it misses it."""
    directions, center = rays(camera), camera.camera_center.numpy()
    middle = -(directions @ center)
    half = np.sqrt(np.maximum(REGION**2 - (center @ center - middle**2), 0))
    enter, leave = middle - half, middle + half
    if plane is not None:
        slope = directions @ plane.normal
        height = float(center @ plane.normal) - plane.offset - CLEARANCE
        cut = np.where(slope < -1e-6, -height / np.where(slope < -1e-6, slope, -1.0), np.inf)
        leave = np.minimum(leave, cut) if height > 0 else leave
    to_depth = directions @ camera.forward.numpy()
    return enter * to_depth, np.maximum(enter, leave) * to_depth


def _depths(camera: Camera, partners: list[_Small]) -> Float[np.ndarray, "depths"]:
    """Depths from the front of the region to infinity, even in disparity."""
    center = camera.camera_center.numpy()
    if not partners:
        return np.zeros(0)
    baseline = max(float(np.linalg.norm(p.camera.camera_center.numpy() - center)) for p in partners)
    nearest = max(0.2, float(np.linalg.norm(center)) - REGION)
    steps = int(np.ceil(float(camera.K[0, 0]) * baseline / nearest / STEP_PX))
    return 1 / np.linspace(1 / nearest, 1 / (100 * nearest), max(16, min(steps, 400)))


def _moments(
    gray: Float[np.ndarray, "height width"],
) -> tuple[Float[np.ndarray, "height width"], Float[np.ndarray, "height width"]]:
    """Mean and standard deviation (never below the noise) around each pixel."""
    mean = cv2.blur(gray, (WINDOW_PX, WINDOW_PX))
    variance = cv2.blur(gray * gray, (WINDOW_PX, WINDOW_PX)) - mean * mean
    return mean, np.sqrt(np.maximum(variance, 0) + FLAT)


def _score(
    view: _Small,
    mean: Float[np.ndarray, "height width"],
    deviation: Float[np.ndarray, "height width"],
    partners: list[_Small],
    plane: Float[np.ndarray, "3"],
) -> Float[np.ndarray, "height width"]:
    """Normalised cross-correlation, if the scene were the plane {x: plane . x = 1} of the camera's frame.

    The mean of the two best partners: the third may look at the back of something.
    """
    total = np.zeros_like(mean)
    worst = np.full_like(mean, np.inf)
    for partner in partners:
        relative = partner.camera.cam_from_world.numpy() @ np.linalg.inv(view.camera.cam_from_world.numpy())
        through = relative[:3, :3] + np.outer(relative[:3, 3], plane)
        homography = partner.camera.K.numpy() @ through @ np.linalg.inv(view.camera.K.numpy())
        half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])  # OpenCV's first centre is at 0
        homography = np.linalg.inv(half) @ homography @ half
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        height, width = view.gray.shape
        warped = cv2.warpPerspective(partner.gray, homography, (width, height), flags=flags)
        other_mean, other_deviation = _moments(warped)
        covariance = cv2.blur(view.gray * warped, (WINDOW_PX, WINDOW_PX)) - mean * other_mean
        score = covariance / (deviation * other_deviation)
        total += score
        np.minimum(worst, score, out=worst)
    return (total - worst) / (len(partners) - 1) if len(partners) > 2 else total / len(partners)
