"""Photos as they came in, and photos with cameras."""

from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from pipeline.scene.camera import Camera


@dataclass(frozen=True, eq=False, kw_only=True)
class Photo:
    """One decoded photo: upright, sRGB, 8 bits a channel.

    Attributes:
        name: The file name that the user gave it.
        image_path: The normalised copy.
        mask_path: The mask that came with it (a folder of masks, or alpha), white = object, or none.
        width: Width in pixels.
        height: Height in pixels.
        focal_px: Focal length from EXIF in pixels, or none when absent or not to be trusted.
        camera_label: Make, model, focal length and size: photos with one label share intrinsics.
    """

    name: str
    image_path: Path
    mask_path: Path | None
    width: int
    height: int
    focal_px: float | None
    camera_label: str


@dataclass(frozen=True, eq=False, kw_only=True)
class Photos:
    """All usable photos of a capture, and the file with their poses if one came along."""

    photos: tuple[Photo, ...]
    poses_path: Path | None


@dataclass(frozen=True, eq=False, kw_only=True)
class View:
    """One posed photo. It names files and opens none.

    Attributes:
        name: The file name that the user gave the photo.
        image_path: The undistorted image.
        mask_path: Coverage of the object in [0, 1], or none yet.
        camera: Pinhole camera of the undistorted image.
        exposure: Linear gain per channel relative to the capture's mean.
        light_from_world: Rotation of the light against the world (turntables); identity for a still object.
    """

    name: str
    image_path: Path
    mask_path: Path | None
    camera: Camera
    exposure: Float[Tensor, "3"]
    light_from_world: Float[Tensor, "4 4"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Capture:
    """Posed views in the settled world (glTF's frame: +Y up).

    Attributes:
        views: The posed photos.
        points: Sparse points, world units; may be empty.
        point_colors: Their sRGB colours in [0, 1].
        object_box: Minimum and maximum corner of the box that holds the object.
        world_from_input: Similarity from the frame in which the poses were given or solved.
        metres_per_unit: Scale of the world, or none when nothing told it.
        mask_dissent: Share of the views whose masks may be overruled about a point; 0 when all masks agree.
    """

    views: tuple[View, ...]
    points: Float[Tensor, "points 3"]
    point_colors: Float[Tensor, "points 3"]
    object_box: Float[Tensor, "2 3"]
    world_from_input: Float[Tensor, "4 4"]
    metres_per_unit: float | None
    mask_dissent: float = 0.0
