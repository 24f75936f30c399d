"""Pictures of the placed photos for the pinhole cameras that all later stages expect."""

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np  # before pycolmap, whose libraries would otherwise shadow zlib
import pycolmap

from pipeline.errors import CaptureError
from pipeline.scene import Photo
from pipeline.stages.sfm_job import Progress, SfmJob
from pipeline.stages.sfm_undistort import Lookup, undistortion, write_pictures

NO_DISTORTION_PX = 0.01  # a camera that moves no pixel further than this needs no new pictures


def write_views(job: SfmJob, model: pycolmap.Reconstruction, progress: Progress) -> list[dict[str, Any]]:
    """Write the pictures and masks of all placed photos; returns a record of each view, in the order of names.

    Raises:
        CaptureError: When a pose is not finite.
    """
    for name in ("images", "masks"):
        (job.folder / name).mkdir(exist_ok=True)
    placed = {i.name: i for i in model.images.values() if i.has_pose}
    found: dict[int, tuple[pycolmap.Camera, Lookup]] = {}
    views = []
    for index, name in enumerate(sorted(placed)):
        progress(index / len(placed), f"undistorted {index} of {len(placed)} photos")
        image, photo = placed[name], job.photos[name]
        camera = model.cameras[image.camera_id]
        pose = image.cam_from_world().matrix()
        if not math.isfinite(float(np.abs(pose).sum())):
            raise CaptureError("COLMAP returned a pose that is not finite", path=photo.name)
        if image.camera_id not in found:
            found[image.camera_id] = undistortion(camera)
        if _is_pinhole(camera, found[image.camera_id]):
            written = _copied(photo, job.folder)
        else:
            written = write_pictures(photo, found[image.camera_id][1], job.folder)
        pinhole = found[image.camera_id][0]
        record: dict[str, Any] = {"name": photo.name, "cam_from_world": [*pose.tolist(), [0.0, 0.0, 0.0, 1.0]]}
        record |= {"K": pinhole.calibration_matrix().tolist(), "width": pinhole.width, "height": pinhole.height}
        views.append(record | written)
    return views


def _is_pinhole(camera: pycolmap.Camera, found: tuple[pycolmap.Camera, Lookup]) -> bool:
    """Whether a photo of this camera is a pinhole's as it is."""
    pinhole, pixels = found
    if (pinhole.width, pinhole.height) != (camera.width, camera.height):
        return False
    x, y = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    return float(np.abs(pixels - np.stack([x, y], -1)).max()) < NO_DISTORTION_PX


def _copied(photo: Photo, folder: Path) -> dict[str, str | None]:
    """As `write_pictures`, byte by byte."""
    return {
        "image_path": _copy(photo.deep_path or photo.image_path, folder / "images"),
        "mask_path": None if photo.mask_path is None else _copy(photo.mask_path, folder / "masks"),
    }


def _copy(path: Path, folder: Path) -> str:
    shutil.copyfile(path, folder / path.name)
    return path.name
