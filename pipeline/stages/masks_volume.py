"""What the photos say together: voxels that hardly any photo excludes, and how they look in each photo."""

import dataclasses
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from pipeline.geometry.voting import sum_votes
from pipeline.scene import Camera
from pipeline.stages.masks_views import project

POSSIBLE, CERTAIN = 0.15, 0.05  # share of the votes against a voxel at which it is as likely empty as not
SOFTNESS = 0.03
CLEARANCE = 0.08  # what is nearer to a camera than the surface it sees, by more than this, is empty
CERTAINTY = 1.0  # votes for a voxel from a photo that surely shows a surface there
MIN_SEEN = 0.25  # voxels in the frame of fewer photos are empty


@dataclass(frozen=True, eq=False, kw_only=True)
class Volume:
    """The voxels of a box.

    Attributes:
        occupancy: How likely a voxel is of the object, in [0, 1], if a few photos may be wrong about it.
        certain: The same if hardly any may be.
        origin: Centre of the first voxel.
        spacing: Distance of neighbouring centres, world units.
    """

    occupancy: Float[np.ndarray, "nx ny nz"]
    certain: Float[np.ndarray, "nx ny nz"]
    origin: Float[np.ndarray, "3"]
    spacing: float

    def centers(self, chosen: Bool[np.ndarray, "nx ny nz"]) -> Float[np.ndarray, "voxels 3"]:
        """World positions of the chosen voxels' centres."""
        return self.origin + np.argwhere(chosen) * self.spacing

    def at(self, points: Float[np.ndarray, "*shape 3"]) -> Float[np.ndarray, "*shape"]:
        """Occupancy at world positions, between the voxels' centres by interpolation; 0 outside of the box."""
        places = np.moveaxis((points - self.origin) / self.spacing, -1, 0)
        return ndimage.map_coordinates(self.occupancy, places, order=1, mode="constant", cval=0.0)

    def grown(self, distance: float) -> "Volume":
        """The volume with everything within `distance` (world units) of it."""
        size = 2 * max(1, round(distance / self.spacing)) + 1
        return dataclasses.replace(self, occupancy=ndimage.maximum_filter(self.occupancy, size))

    def box(self, margin: float) -> Float[np.ndarray, "2 3"]:
        """The box of the occupied voxels, padded by a share of its longest side."""
        points = self.centers(self.occupancy > 0.5)
        low, high = points.min(0), points.max(0)
        pad = margin * (high - low).max()
        return np.stack([low - pad, high + pad])


def vote(  # one image of each kind per camera
    cameras: list[Camera],
    labels: list[Float[np.ndarray, "_ _"]],
    weights: list[Float[np.ndarray, "_ _"]],
    surfaces: list[Float[np.ndarray, "_ _"]],
    box: Float[np.ndarray, "2 3"],
    *,
    side: int,
) -> Volume:
    """Occupied is what few photos exclude: their shares of the votes are summed up, not multiplied.

    A single wrong mask then removes nothing, unlike in the hull of Laurentini (1994).

    Args:
        cameras: One per view, for the size of its labels.
        labels: Probability of being object per pixel.
        weights: How much a pixel's vote counts.
        surfaces: Depth of a surface that the pixel is known to show, 0 where none is.
        box: Minimum and maximum corner of the voxels' centres.
        side: Voxels along the longest side of the box.
    """
    spacing = float((box[1] - box[0]).max()) / (side - 1)
    nx, ny, nz = (max(2, int(np.ceil(length / spacing)) + 1) for length in box[1] - box[0])
    images = [np.stack([w * (1 - u), w, d], -1) for u, w, d in zip(labels, weights, surfaces, strict=True)]
    votes = sum_votes(cameras, images, box[0], spacing, (nx, ny, nz), CLEARANCE, CERTAINTY)
    against, total, seen = np.moveaxis(votes, -1, 0)
    share = against / np.maximum(total, 1e-3)
    framed = seen >= max(2, MIN_SEEN * len(cameras))
    possible, certain = (framed / (1 + np.exp(np.clip((share - c) / SOFTNESS, -30, 30))) for c in (POSSIBLE, CERTAIN))
    return Volume(
        occupancy=possible.astype(np.float32), certain=certain.astype(np.float32), origin=box[0], spacing=spacing
    )


def central_part(volume: Volume) -> Volume:
    """Only the connected part in the middle: the largest one, counted less the further it is from the axis."""
    parts, number = ndimage.label(volume.occupancy > 0.5, np.ones((3, 3, 3)))
    if number < 2:
        return volume
    points = volume.centers(parts > 0)
    distance = np.hypot(points[:, 0], points[:, 2])
    share = np.bincount(parts[parts > 0], weights=np.exp(-((distance / 0.5) ** 2)), minlength=number + 1)
    kept = ndimage.binary_dilation(parts == share.argmax(), iterations=1)
    return dataclasses.replace(
        volume, occupancy=np.where(kept, volume.occupancy, 0), certain=np.where(kept, volume.certain, 0)
    )


def seen_from(volume: Volume, camera: Camera, *, certain: bool = False) -> Float[np.ndarray, "height width"]:
    """The largest occupancy along each pixel's ray, blurred by about a voxel; 0 beside the volume."""
    occupancy = volume.certain if certain else volume.occupancy
    depth = float(project(camera, np.zeros((1, 3)))[0, 2])
    voxel_px = float(camera.K[0, 0]) * volume.spacing / max(depth, volume.spacing)
    small = camera.scaled(min(1.0, 1 / max(voxel_px, 1e-6)))
    chosen = occupancy > 0.05
    values = occupancy[chosen]
    pixels = project(small, volume.centers(chosen))
    columns, rows = np.floor(pixels[:, :2]).astype(np.int64).T
    inside = (columns >= 0) & (columns < small.width) & (rows >= 0) & (rows < small.height) & (pixels[:, 2] > 0)
    image = np.zeros((small.height, small.width), np.float32)
    np.maximum.at(image, (rows[inside], columns[inside]), values[inside])
    closed = cv2.morphologyEx(image, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    grown = cv2.resize(closed, (camera.width, camera.height), interpolation=cv2.INTER_LINEAR)
    return np.clip(grown, 0, 1)
