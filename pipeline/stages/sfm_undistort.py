"""Take lens distortion out of photos and masks, with COLMAP's camera models; runs in a child process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np  # before pycolmap, whose libraries would otherwise shadow zlib
import pycolmap
from jaxtyping import Float

from pipeline.errors import InputError
from pipeline.formats import images
from pipeline.formats.given_cameras import told_with
from pipeline.formats.resample import resample

Progress = Callable[[float, str], None]
MIN_KEPT = 0.1  # of a photo's width and height; a lens that loses more of it is a mistake


def undistort_photos(arguments: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Take the distortion out of photos whose lenses are known, and of their masks alike.

    Arguments: `folder`; `lenses` (model, params, width, height, skew); `photos` (name, image_path, mask_path, and the
    index of its `lens`). Writes `images` and `masks` into `folder`; returns `views`, as `write_undistorted` does.

    Raises:
        InputError: When a lens maps its own image to nowhere.
    """
    pycolmap.logging.minloglevel = 1
    folder = Path(arguments["folder"])
    for name in ("images", "masks"):
        (folder / name).mkdir(exist_ok=True)
    views: list[dict[str, Any]] = []
    photos = arguments["photos"]
    for index, lens in enumerate(arguments["lenses"]):
        seen = [photo for photo in photos if photo["lens"] == index]
        with told_with("its lens", Path(seen[0]["name"])):
            found = given_undistortion(lens)
        for photo in seen:
            progress(len(views) / len(photos), f"undistorting {photo['name']}")
            views.append(write_undistorted(photo, found, folder))
    return {"views": views}


def given_undistortion(lens: dict[str, Any]) -> tuple[pycolmap.Camera, Float[np.ndarray, "height width 2"]]:
    """As `undistortion`, of a lens that somebody gave.

    Raises:
        InputError: When its distortion folds the image over, or leaves next to nothing of it.
    """
    size = np.array([lens["width"], lens["height"]])
    camera = pycolmap.Camera(model=lens["model"], width=size[0], height=size[1], params=np.array(lens["params"]))
    pinhole, pixels = undistortion(camera)
    pixels[..., 0] += lens["skew"] * (pixels[..., 1] - lens["params"][3]) / lens["params"][1]
    low, high = pixels.min((0, 1)), pixels.max((0, 1))
    if not ((low > -0.01 * size).all() and (high < 1.01 * size).all() and (high - low > MIN_KEPT * size).all()):
        raise InputError(
            f"undistorted, the image would show x {low[0]:.0f} to {high[0]:.0f} and y {low[1]:.0f} to {high[1]:.0f} px "
            f"of a photo of {size[0]} x {size[1]} px",
            remedy=f"its distortion is impossible: {lens['model']} {lens['params']}",
        )
    return pinhole, pixels


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
