"""Pictures without distortion, for the pinhole cameras that all later stages expect."""

from pathlib import Path
from typing import TypeAlias

import numpy as np  # before pycolmap, whose libraries would otherwise shadow zlib
import pycolmap
from jaxtyping import Float

from pipeline.formats import images
from pipeline.formats.resample import resample
from pipeline.scene import Photo

Lookup: TypeAlias = Float[np.ndarray, "height width 2"]


def undistortion(camera: pycolmap.Camera) -> tuple[pycolmap.Camera, Lookup]:
    """The pinhole camera without blank borders, and for each of its pixels the place in the photo."""
    pinhole = pycolmap.undistort_camera(pycolmap.UndistortCameraOptions(), camera)
    x, y = np.meshgrid(np.arange(pinhole.width) + 0.5, np.arange(pinhole.height) + 0.5)
    rays = np.asarray(pinhole.cam_from_img(np.stack([x.ravel(), y.ravel()], 1).astype(np.float64)))
    pixels = camera.img_from_cam(np.concatenate([rays, np.ones((len(rays), 1))], 1))
    return pinhole, pixels.reshape(pinhole.height, pinhole.width, 2)


def write_pictures(photo: Photo, lookup: Lookup, folder: Path) -> dict[str, str | None]:
    """Write a photo and its mask without distortion into `images` and `masks` of `folder`; returns their names.

    Of a photo with more than 8 bits, the deep picture is written: a 16-bit PNG or an EXR.
    """
    stem = photo.image_path.stem
    if photo.deep_path:
        image_path = images.write_deep(folder / "images" / stem, resample(images.read_deep(photo.deep_path), lookup))
    else:
        image_path = folder / "images" / f"{stem}.jpg"
        images.write_jpeg(image_path, resample(images.read_image(photo.image_path), lookup), quality=97)
    mask_name = None
    if photo.mask_path:
        mask_name = f"{stem}.png"
        coverage = (images.read_mask(photo.mask_path) * 255).round().numpy().astype(np.uint8)
        images.write_png(folder / "masks" / mask_name, resample(coverage, lookup))
    return {"image_path": image_path.name, "mask_path": mask_name}
