"""Structure from motion by COLMAP; runs in a child process: only modules named `sfm` import pycolmap."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np  # before pycolmap, whose libraries would otherwise shadow zlib
import pycolmap

from pipeline.errors import CaptureError
from pipeline.stages.sfm_undistort import photo_from_record, undistortion, write_pictures

Progress = Callable[[float, str], None]
CHUNK = 6  # photos per call of the feature extractor, so that progress shows


def solve(arguments: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Find poses, undistort photos and masks, and write `sfm.json` into `arguments["folder"]`.

    Arguments: `folder`, `photos` (name, image_path, mask_path, width, height, focal_px, camera_label),
    `max_image_px`, `max_features`, `camera_model`, `seed`, `threads`. Returns counts and the reprojection error.

    Raises:
        CaptureError: When no pair of photos starts a reconstruction.
    """
    pycolmap.logging.minloglevel = 1
    pycolmap.set_random_seed(arguments["seed"])
    folder = Path(arguments["folder"])
    database = folder / "database.db"
    database.unlink(missing_ok=True)
    image_names = _link_photos(arguments["photos"], folder / "photos")
    _extract(arguments, image_names, database, progress)
    progress(0.45, "matching all pairs")
    _match(database, arguments)
    reconstruction = _map(database, folder, arguments, progress)
    progress(0.9, "undistorting")
    return _write(reconstruction, image_names, folder, progress)


def _link_photos(photos: list[dict[str, Any]], folder: Path) -> dict[str, dict[str, Any]]:
    """Give COLMAP one folder with all photos; returns the photos by their name there."""
    folder.mkdir(exist_ok=True)
    named = {}
    for photo in photos:
        source = Path(photo["image_path"])
        link = folder / source.name
        link.unlink(missing_ok=True)
        link.symlink_to(source.resolve())
        named[source.name] = photo
    return named


def _extract(arguments: dict[str, Any], named: dict[str, dict[str, Any]], database: Path, progress: Progress) -> None:
    """SIFT features; photos with one camera label share one camera."""
    options = pycolmap.FeatureExtractionOptions()
    options.max_image_size = arguments["max_image_px"]
    options.num_threads = arguments["threads"]
    options.use_gpu = False
    options.sift.max_num_features = arguments["max_features"]
    groups: dict[str, list[str]] = {}
    for name, photo in named.items():
        groups.setdefault(photo["camera_label"], []).append(name)
    done = 0
    for group in groups.values():
        reader = pycolmap.ImageReaderOptions()
        reader.existing_camera_id = _write_camera(database, named[group[0]], arguments["camera_model"])
        for start in range(0, len(group), CHUNK):
            chunk = group[start : start + CHUNK]
            progress(0.45 * done / len(named), f"features of {chunk[0]}")
            pycolmap.extract_features(
                database,
                database.parent / "photos",
                image_names=chunk,
                reader_options=reader,
                extraction_options=options,
                device=pycolmap.Device.cpu,
            )
            done += len(chunk)


def _write_camera(database: Path, photo: dict[str, Any], model: str) -> int:
    """Add a camera that starts from the EXIF focal length, or from 1.2 x the long side as COLMAP does."""
    focal = photo["focal_px"] or 1.2 * max(photo["width"], photo["height"])
    camera = pycolmap.Camera.create_from_model_name(0, model, focal, photo["width"], photo["height"])
    camera.has_prior_focal_length = photo["focal_px"] is not None
    with pycolmap.Database.open(database) as db:
        return int(db.write_camera(camera))


def _match(database: Path, arguments: dict[str, Any]) -> None:
    matching = pycolmap.FeatureMatchingOptions()
    matching.num_threads = arguments["threads"]
    matching.use_gpu = False
    verification = pycolmap.TwoViewGeometryOptions()
    verification.ransac.random_seed = arguments["seed"]
    pycolmap.match_exhaustive(
        database, matching_options=matching, verification_options=verification, device=pycolmap.Device.cpu
    )


def _map(database: Path, folder: Path, arguments: dict[str, Any], progress: Progress) -> pycolmap.Reconstruction:
    """Incremental mapping; returns the model with the most photos."""
    options = pycolmap.IncrementalPipelineOptions()
    options.num_threads = options.mapper.num_threads = 1  # more threads make the result vary
    options.random_seed = arguments["seed"]
    options.min_model_size = 3
    total = len(arguments["photos"])
    registered = 2

    def count() -> None:
        nonlocal registered
        registered += 1
        progress(0.6 + 0.3 * min(1.0, registered / total), f"{min(registered, total)} of {total} photos placed")

    (folder / "sparse").mkdir(exist_ok=True)
    models = pycolmap.incremental_mapping(
        database, folder / "photos", folder / "sparse", options, next_image_callback=count
    )
    if not models:
        raise CaptureError(
            f"none of {total} photos could be placed: no two of them share enough detail",
            remedy="photograph with 70 % overlap, and put printed paper under a plain object",
        )
    return max(models.values(), key=lambda m: m.num_reg_images())


def _write(
    model: pycolmap.Reconstruction, named: dict[str, dict[str, Any]], folder: Path, progress: Progress
) -> dict[str, Any]:
    for name in ("images", "masks"):
        (folder / name).mkdir(exist_ok=True)
    placed = {i.name: i for i in model.images.values() if i.has_pose}
    maps: dict[int, Any] = {}
    views = []
    for index, name in enumerate(sorted(placed)):
        progress(0.9 + 0.1 * index / len(placed), "undistorting")
        image = placed[name]
        if image.camera_id not in maps:
            maps[image.camera_id] = undistortion(model.cameras[image.camera_id])
        pose = image.cam_from_world().matrix()
        if not math.isfinite(float(np.abs(pose).sum())):
            raise CaptureError("COLMAP returned a pose that is not finite", path=named[name]["name"])
        photo = photo_from_record(named[name])
        pinhole, lookup = maps[image.camera_id]
        views.append(
            {
                "name": photo.name,
                "K": pinhole.calibration_matrix().tolist(),
                "cam_from_world": [*pose.tolist(), [0.0, 0.0, 0.0, 1.0]],
                "width": pinhole.width,
                "height": pinhole.height,
                **write_pictures(photo, lookup, folder),
            }
        )
    points = list(model.points3D.values())
    sparse = {
        "views": views,
        "points": [[round(float(c), 6) for c in p.xyz] for p in points],
        "point_colors": [[int(c) for c in p.color] for p in points],
    }
    (folder / "sfm.json").write_text(json.dumps(sparse), encoding="utf-8")
    error = float(model.compute_mean_reprojection_error())
    return {"registered": len(views), "points": len(points), "reprojection_px": error}
