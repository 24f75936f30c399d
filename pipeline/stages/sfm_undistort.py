"""Pictures without distortion, for the pinhole cameras that all later stages expect."""

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np  # before pycolmap, whose libraries would otherwise shadow zlib
import pycolmap
from jaxtyping import Float

from pipeline.errors import CaptureError
from pipeline.formats import images
from pipeline.formats.resample import resample
from pipeline.scene import Photo
from pipeline.stages.sfm_job import Progress, SfmJob

Lookup = Float[np.ndarray, "height width 2"]

JPEG_QUALITY = 97
NO_DISTORTION_PX = 0.01  # a camera that moves no pixel further than this needs no new pictures


def write_views(job: SfmJob, model: pycolmap.Reconstruction, progress: Progress) -> list[dict[str, Any]]:
    """Write the pictures and masks of all placed photos; returns a record of each view, in the order of names.

    Raises:
        CaptureError: When a pose is not finite.
    """
    for name in ("images", "masks"):
        (job.folder / name).mkdir(exist_ok=True)
    placed = {i.name: i for i in model.images.values() if i.has_pose}
    lookups: dict[int, tuple[pycolmap.Camera, Lookup | None]] = {}
    views = []
    for index, name in enumerate(sorted(placed)):
        progress(index / len(placed), f"undistorted {index} of {len(placed)} photos")
        image = placed[name]
        if image.camera_id not in lookups:
            lookups[image.camera_id] = undistortion(model.cameras[image.camera_id])
        pinhole, lookup = lookups[image.camera_id]
        views.append(_record(image, pinhole) | _write_pictures(job.photos[name], lookup, job.folder))
    return views


def undistortion(camera: pycolmap.Camera) -> tuple[pycolmap.Camera, Lookup | None]:
    """The pinhole camera without blank borders, and for each of its pixels the place in the photo.

    The places are none when they are the pixels themselves: the photo is a pinhole camera's already.
    """
    pinhole = pycolmap.undistort_camera(pycolmap.UndistortCameraOptions(), camera)
    x, y = np.meshgrid(np.arange(pinhole.width) + 0.5, np.arange(pinhole.height) + 0.5)
    straight = np.stack([x, y], -1)
    rays = np.asarray(pinhole.cam_from_img(straight.reshape(-1, 2)))
    pixels = np.asarray(camera.img_from_cam(np.concatenate([rays, np.ones((len(rays), 1))], 1))).reshape(straight.shape)
    same_size = (pinhole.width, pinhole.height) == (camera.width, camera.height)
    if same_size and float(np.abs(pixels - straight).max()) < NO_DISTORTION_PX:
        return pinhole, None
    return pinhole, pixels


def _write_pictures(photo: Photo, lookup: Lookup | None, folder: Path) -> dict[str, str | None]:
    """Write a photo's picture and mask; without a lookup they are copied byte by byte."""
    stem = photo.image_path.stem
    if lookup is None:
        return {
            "image_path": _copy(photo.image_path, folder / "images"),
            "mask_path": _copy(photo.mask_path, folder / "masks") if photo.mask_path else None,
        }
    image_path, mask_name = folder / "images" / f"{stem}.jpg", None
    images.write_jpeg(image_path, resample(images.read_image(photo.image_path), lookup), quality=JPEG_QUALITY)
    if photo.mask_path:
        mask_name = f"{stem}.png"
        coverage = (images.read_mask(photo.mask_path) * 255).round().numpy().astype(np.uint8)
        images.write_png(folder / "masks" / mask_name, resample(coverage, lookup))
    return {"image_path": image_path.name, "mask_path": mask_name}


def _copy(path: Path, folder: Path) -> str:
    shutil.copyfile(path, folder / path.name)
    return path.name


def _record(image: pycolmap.Image, pinhole: pycolmap.Camera) -> dict[str, Any]:
    pose = image.cam_from_world().matrix()
    if not math.isfinite(float(np.abs(pose).sum())):
        raise CaptureError("COLMAP returned a pose that is not finite", path=image.name)
    return {
        "photo": image.name,
        "K": pinhole.calibration_matrix().tolist(),
        "cam_from_world": [*pose.tolist(), [0.0, 0.0, 0.0, 1.0]],
        "width": pinhole.width,
        "height": pinhole.height,
    }
