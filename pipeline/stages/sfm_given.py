"""Photos whose lenses are known lose their distortion; runs in a child process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np  # before pycolmap, whose libraries would otherwise shadow zlib
import pycolmap

from pipeline.errors import InputError
from pipeline.formats.given_cameras import Lens, told_with
from pipeline.stages.sfm_job import photo_from_record
from pipeline.stages.sfm_undistort import Lookup, undistortion, write_pictures

MIN_KEPT = 0.1  # of a photo's width and height; a lens that loses more of it is a mistake

Progress = Callable[[float, str], None]


def undistort_photos(arguments: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Take the distortion out of photos and their masks.

    Arguments: `folder`; `lenses`, the fields of a `Lens` each; `photos`, the fields of a `Photo` each; `lens_of`, the
    index of each photo's lens. Writes `images` and `masks` into `folder`; returns `views`: photo, picture, mask, K,
    width and height.

    Raises:
        InputError: When a lens folds its image over.
    """
    pycolmap.logging.minloglevel = 1
    folder = Path(arguments["folder"])
    for name in ("images", "masks"):
        (folder / name).mkdir(exist_ok=True)
    photos = [photo_from_record(record) for record in arguments["photos"]]
    views: list[dict[str, Any]] = []
    for index, fields in enumerate(arguments["lenses"]):
        seen = [p for p, lens in zip(photos, arguments["lens_of"], strict=True) if lens == index]
        with told_with("its lens", Path(seen[0].name)):
            pinhole, lookup = given_undistortion(Lens(**fields | {"distortion": tuple(fields["distortion"])}))
        camera = {"K": pinhole.calibration_matrix().tolist(), "width": pinhole.width, "height": pinhole.height}
        for photo in seen:
            progress(len(views) / len(photos), f"undistorting {photo.name}")
            views.append({"photo": photo.name, **camera, **write_pictures(photo, lookup, folder)})
    return {"views": views}


def given_undistortion(lens: Lens) -> tuple[pycolmap.Camera, Lookup]:
    """As `undistortion`, of a lens that somebody gave.

    Raises:
        InputError: When its distortion folds the image over, or leaves next to nothing of it.
    """
    camera = pycolmap.Camera(model=lens.model, width=lens.width, height=lens.height, params=np.array(lens.params))
    pinhole, lookup = undistortion(camera)
    lookup[..., 0] += lens.skew * (lookup[..., 1] - lens.cy) / lens.fy
    size, low, high = np.array([lens.width, lens.height]), lookup.min((0, 1)), lookup.max((0, 1))
    if not ((low > -0.01 * size).all() and (high < 1.01 * size).all() and (high - low > MIN_KEPT * size).all()):
        raise InputError(
            f"{lens.model} {[float(f'{p:.6g}') for p in lens.params]} is impossible: without distortion, the image "
            f"would show x {low[0]:.0f} to {high[0]:.0f}, y {low[1]:.0f} to {high[1]:.0f} px of {size[0]} x {size[1]}",
            remedy="correct the lens in the file of poses, or have the poses solved with --poses solve",
        )
    return pinhole, lookup
