"""Photos as they came in, and photos with cameras."""

from dataclasses import dataclass, replace
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from pipeline.scene.camera import Camera


@dataclass(frozen=True, eq=False, kw_only=True)
class Photo:
    """One decoded photo: upright, sRGB, 8 bits a channel.

    Attributes:
        name: The file name that the user gave it, with the folder below the named one where that tells two apart.
        image_path: The normalised copy: JPEG or PNG, 8 bits a channel.
        mask_path: The mask that came with it (a folder of masks, or alpha), white = object, or none.
        width: Width in pixels.
        height: Height in pixels.
        focal_px: Focal length from EXIF in pixels, or none when absent or not to be trusted.
        camera_label: Make, model, focal length and size: photos with one label share intrinsics.
        deep_path: The same picture with all that the file held, for the fit: a 16-bit PNG (sRGB) or an EXR (linear
            radiance), or none when that is 8 bits.
        light_index: Photos with one number were taken under one light with the object lying one way (a pass).
        orientation: EXIF's, 1 to 8, by which the stored pixels were turned upright.
        exposure: How bright it shows a surface relative to the mean of all photos, by EXIF; 1 where that tells nothing.
    """

    name: str
    image_path: Path
    mask_path: Path | None
    width: int
    height: int
    focal_px: float | None
    camera_label: str
    deep_path: Path | None = None
    light_index: int = 0
    orientation: int = 1
    exposure: float = 1.0


@dataclass(frozen=True, eq=False, kw_only=True)
class Verdict:
    """Whether a photo is used, in plain words.

    Attributes:
        name: The photo's name.
        used: Whether later stages see it.
        reason: Why not, or what to know about it; empty when there is nothing to say.
        figures: What was measured, by name: `sharpness`, `overexposed_share`.
        limits: The limits that the figures were held against, by the same names.
    """

    name: str
    used: bool
    reason: str
    figures: dict[str, float]
    limits: dict[str, float]


@dataclass(frozen=True, eq=False, kw_only=True)
class Photos:
    """All usable photos of a capture, the file with their poses if one came along, and a verdict on every photo."""

    photos: tuple[Photo, ...]
    poses_path: Path | None
    verdicts: tuple[Verdict, ...] = ()


@dataclass(frozen=True, eq=False, kw_only=True)
class View:
    """One posed photo. It names files and opens none.

    Attributes:
        name: The file name that the user gave the photo.
        image_path: The undistorted image: 8 bits a channel, or what `Photo.deep_path` holds.
        mask_path: Coverage of the object in [0, 1], or none yet.
        camera: Pinhole camera of the undistorted image.
        exposure: Linear gain per channel relative to the capture's mean.
        light_from_world: Rotation of the light against the world (turntables); identity for a still object.
        light_index: Which of the capture's lights it was taken under: one for each pass.
    """

    name: str
    image_path: Path
    mask_path: Path | None
    camera: Camera
    exposure: Float[Tensor, "3"]
    light_from_world: Float[Tensor, "4 4"]
    light_index: int = 0


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
        outlined: Whether any mask shows the object's outline; else they hold all that the object box projects to.
        poses_given: Whether the poses came along; somebody's frame has axes that mean something.
        box_given: Whether the user set the box, which then wins over the masks'.
        metres_per_asset_unit: Metres for each unit of the asset as it would be placed without this number, or none
            when nobody measured it.
        up_from: What told which way is up, in words.
        scale_from: What told the scale, in words; empty when nothing did.
    """

    views: tuple[View, ...]
    points: Float[Tensor, "points 3"]
    point_colors: Float[Tensor, "points 3"]
    object_box: Float[Tensor, "2 3"]
    world_from_input: Float[Tensor, "4 4"]
    metres_per_unit: float | None
    mask_dissent: float = 0.0
    outlined: bool = True
    poses_given: bool = False
    box_given: bool = False
    metres_per_asset_unit: float | None = None
    up_from: str = ""
    scale_from: str = ""

    def posed(self, cam_from_world: Float[Tensor, "views 4 4"]) -> "Capture":
        """The same photos with other poses, in the order of the views."""
        pairs = zip(self.views, cam_from_world, strict=True)
        return replace(
            self,
            views=tuple(replace(view, camera=replace(view.camera, cam_from_world=pose)) for view, pose in pairs),
        )

    def exposed(self, gains: Float[Tensor, "views 3"]) -> "Capture":
        """The same photos with other exposures, in the order of the views."""
        pairs = zip(self.views, gains, strict=True)
        return replace(self, views=tuple(replace(view, exposure=gain) for view, gain in pairs))
