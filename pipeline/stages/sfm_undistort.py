"""Take lens distortion out of photos and masks, with COLMAP's camera models; runs in a child process."""

from pathlib import Path
from typing import Any

import numpy as np  # before pycolmap, whose libraries would otherwise shadow zlib
import pycolmap
from jaxtyping import Float

from pipeline.formats import images
from pipeline.formats.resample import resample


def undistortion(camera: pycolmap.Camera) -> tuple[pycolmap.Camera, Float[np.ndarray, "height width 2"]]:
    """The pinhole camera without blank borders, and for each of its pixels the place in the photo."""
    pinhole = pycolmap.undistort_camera(pycolmap.UndistortCameraOptions(), camera)
    x, y = np.meshgrid(np.arange(pinhole.width) + 0.5, np.arange(pinhole.height) + 0.5)
    rays = np.asarray(pinhole.cam_from_img(np.stack([x.ravel(), y.ravel()], 1).astype(np.float64)))
    pixels = camera.img_from_cam(np.concatenate([rays, np.ones((len(rays), 1))], 1))
    return pinhole, pixels.reshape(pinhole.height, pinhole.width, 2)


def write_undistorted(
    photo: dict[str, Any],
    undistortion: tuple[pycolmap.Camera, Float[np.ndarray, "height width 2"]],
    folder: Path,
) -> dict[str, Any]:
    """Write a photo and its mask without distortion below `folder`; returns a view's record without its pose."""
    pinhole, pixels = undistortion
    stem = Path(photo["image_path"]).stem
    image_path, mask_path = folder / "images" / f"{stem}.jpg", None
    images.write_jpeg(image_path, resample(images.read_image(Path(photo["image_path"])), pixels), quality=97)
    if photo["mask_path"]:
        mask_path = folder / "masks" / f"{stem}.png"
        coverage = (images.read_mask(Path(photo["mask_path"])) * 255).round().numpy().astype(np.uint8)
        images.write_png(mask_path, resample(coverage, pixels))
    return {
        "name": photo["name"],
        "image_path": image_path.name,
        "mask_path": mask_path and mask_path.name,
        "K": pinhole.calibration_matrix().tolist(),
        "width": pinhole.width,
        "height": pinhole.height,
    }
