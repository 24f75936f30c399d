"""A photo with its camera, as far as the poses stage knows it."""

from pathlib import Path
from typing import Any

import torch

from pipeline.scene import Camera, Photo, View


def still_view(photo: Photo, image_path: Path, mask_path: Path | None, camera: Camera) -> View:
    """The view of an object that lies still: exposed as EXIF tells, under a light that does not turn."""
    return View(
        name=photo.name,
        image_path=image_path,
        mask_path=mask_path,
        camera=camera,
        exposure=torch.full((3,), photo.exposure),
        light_from_world=torch.eye(4, dtype=torch.float64),
        light_index=photo.light_index,
    )


def photo_record(photo: Photo) -> dict[str, Any]:
    """A photo as child processes read it."""
    paths = {key: None if value is None else str(value) for key, value in vars(photo).items() if key.endswith("_path")}
    return vars(photo) | paths
