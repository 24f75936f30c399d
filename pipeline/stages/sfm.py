"""Structure from motion by COLMAP: what runs in the child process, from photos to posed pictures."""

import json
from typing import Any

import numpy as np  # noqa: F401  # before pycolmap, whose libraries would otherwise shadow zlib
import pycolmap

from pipeline.errors import CaptureError
from pipeline.stages.sfm_diagnosis import diagnose, outliers, shortened
from pipeline.stages.sfm_evidence import read_evidence, save_model
from pipeline.stages.sfm_job import Progress, SfmJob, part_of
from pipeline.stages.sfm_ladder import climb
from pipeline.stages.sfm_mapping import Mapped, drop_poses
from pipeline.stages.sfm_polish import errors_by_photo, polish
from pipeline.stages.sfm_turntable import still_background_masks
from pipeline.stages.sfm_views import write_views

GOOD_SHARE = 0.8  # of the photos; below it the diagnosis is told
FOCAL_RANGE = (0.3, 5.0)  # times the long side: what lenses have
MAPPED, POLISHED = 0.88, 0.92  # shares of the progress


def solve(arguments: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Find poses, undistort photos and masks, and write `sfm.json` and `colmap/` into the job's folder.

    Args:
        arguments: A job, as `SfmJob.from_arguments` reads it.
        progress: Told the share done in [0, 1] and a note.

    Returns:
        `registered`, `points`, `reprojection_px`, `placed` (photos by rung of the ladder), `warnings`, and
        `diagnosis` (`what`, `remedy`) where fewer than 80 % of the photos were placed, else none.

    Raises:
        CaptureError: When no pair of photos starts a reconstruction, with the likeliest cause.
    """
    pycolmap.logging.minloglevel = 1
    pycolmap.set_random_seed(arguments["seed"])
    job = SfmJob.from_arguments(arguments)
    masks = still_background_masks(job) if job.config.rig == "turntable" else None
    best, placed = climb(job, part_of(progress, 0.0, MAPPED), masks)
    if not best.models:
        cause = diagnose(read_evidence(job, best))
        raise CaptureError(f"none of {len(job.photos)} photos could be placed: {cause.what}", remedy=cause.remedy)
    progress(MAPPED, "refining all cameras together")
    model = polish(best.models[0])
    strangers = outliers(errors_by_photo(model))
    if strangers and model.num_reg_images() - len(strangers) >= 3:
        drop_poses(model, strangers)
        model = polish(model)
    model.extract_colors_for_all_images(job.folder / "photos")
    views = write_views(job, model, part_of(progress, POLISHED, 1.0))
    _save(job, model, views)
    poor = len(views) < GOOD_SHARE * len(job.photos)
    return {
        "registered": len(views),
        "points": model.num_points3D(),
        "reprojection_px": float(model.compute_mean_reprojection_error()),
        "placed": placed,
        "warnings": [*_focal_warnings(model), *_stranger_warnings(job, strangers), *_apart_warnings(job, best)],
        "diagnosis": vars(diagnose(read_evidence(job, best))) if poor else None,
    }


def _save(job: SfmJob, model: pycolmap.Reconstruction, views: list[dict[str, Any]]) -> None:
    points = list(model.points3D.values())
    sparse = {
        "views": views,
        "points": [[round(float(c), 6) for c in p.xyz] for p in points],
        "point_colors": [[int(c) for c in p.color] for p in points],
    }
    (job.folder / "sfm.json").write_text(json.dumps(sparse), encoding="utf-8")
    save_model(job, model, job.folder / "colmap")


def _focal_warnings(model: pycolmap.Reconstruction) -> list[str]:
    """Say which refined focal lengths no lens has."""
    told = []
    for camera in model.cameras.values():
        ratio = camera.mean_focal_length() / max(camera.width, camera.height)
        if not FOCAL_RANGE[0] <= ratio <= FOCAL_RANGE[1]:
            told.append(
                f"a focal length of {ratio:.2f} times the photo's long side was found, outside "
                f"{FOCAL_RANGE[0]} .. {FOCAL_RANGE[1]}: the shape may be bent"
            )
    return told


def _stranger_warnings(job: SfmJob, strangers: list[str]) -> list[str]:
    if not strangers:
        return []
    told = shortened(job.original_names(strangers))
    return [f"{len(strangers)} photos do not fit the others and are left out (did something move?): {told}"]


def _apart_warnings(job: SfmJob, best: Mapped) -> list[str]:
    """Say which photos form a model of their own that could not be joined to the one that is used."""
    placed = {i.name for i in best.models[0].images.values() if i.has_pose}
    told = []
    for model in best.models[1:]:
        names = sorted({i.name for i in model.images.values() if i.has_pose} - placed)
        placed |= set(names)
        if len(names) > 1:
            told.append(
                f"{len(names)} photos fit each other but not the rest, and are left out "
                f"({shortened(job.original_names(names))}): add photos between the two groups"
            )
    return told
