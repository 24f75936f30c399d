"""The ladder of attempts: each rung is tried only when those before it placed too few photos."""

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np  # noqa: F401  # before pycolmap, whose libraries would otherwise shadow zlib
import pycolmap

from pipeline.stages.sfm_features import FeatureSettings, find_features, link_masks
from pipeline.stages.sfm_job import Progress, SfmJob, part_of
from pipeline.stages.sfm_mapping import Mapped, map_globally, map_incrementally
from pipeline.stages.sfm_matching import match

Rung = tuple[str, Callable[[Mapped | None, Progress], Mapped]]  # the best result so far goes in

MORE_FEATURES = 2  # times as many on the second try
LOWER_PEAK = 0.5  # times the contrast
FIRST_SHARE, LATER_SHARE = 0.85, 0.5  # of the progress that is left


def climb(job: SfmJob, progress: Progress, masks: dict[str, Path] | None = None) -> tuple[Mapped, dict[str, int]]:
    """Try rung after rung until enough photos are placed; returns the best result and what each rung placed.

    Args:
        job: Photos and settings.
        progress: Told how far it is.
        masks: Where features count, by COLMAP's names (turntables); none takes the whole photos.
    """
    best: Mapped | None = None
    placed: dict[str, int] = {}
    start = 0.0
    for name, attempt in _rungs(job, masks):
        end = start + (1 - start) * (LATER_SHARE if placed else FIRST_SHARE)
        told = part_of(progress, start, end)
        mapped = attempt(best, _named(told, name) if placed else told)
        placed[name] = mapped.registered
        best = mapped if best is None else max(best, mapped, key=_merit)
        if best.registered >= job.config.retry_below * len(job.photos):
            break
        start = end
    return best or Mapped(models=(), database=job.folder / "database.db"), placed


def _merit(mapped: Mapped) -> tuple[int, int]:
    points = mapped.models[0].num_points3D() if mapped.models else 0
    return mapped.registered, points


def _named(progress: Progress, rung: str) -> Progress:
    return lambda fraction, note: progress(fraction, f"{rung}: {note}")


def _rungs(job: SfmJob, masks: dict[str, Path] | None) -> Iterator[Rung]:
    folder = None if masks is None else link_masks(job, masks)
    usual = FeatureSettings(max_features=job.config.max_features, masks=folder)
    more = FeatureSettings(
        max_features=MORE_FEATURES * usual.max_features,
        peak_threshold=LOWER_PEAK * usual.peak_threshold,
        doubled=True,
        masks=folder,
    )
    yield "usual settings", lambda _, told: _attempt(job, "database.db", usual, told)
    yield "focal length from the matches", lambda _, told: _other_focal(job, told)
    yield "more features", lambda _, told: _attempt(job, "more.db", more, told)
    if masks is None and sum(p.mask_path is not None for p in job.photos.values()) > len(job.photos) / 2:
        masked = dataclasses.replace(more, masks=link_masks(job))
        yield "the object alone", lambda _, told: _attempt(job, "masked.db", masked, told)
    yield "global mapping", lambda best, _: map_globally(job, best.database if best else job.folder / "database.db")


def _attempt(job: SfmJob, database: str, settings: FeatureSettings, progress: Progress) -> Mapped:
    path = job.folder / database
    find_features(job, path, settings, part_of(progress, 0.0, 0.25))
    match(job, path, part_of(progress, 0.25, 0.8))
    return map_incrementally(job, path, part_of(progress, 0.8, 1.0))


def _other_focal(job: SfmJob, progress: Progress) -> Mapped:
    """Map once more from focal lengths that the matches alone give (Fetzer and others, 2020), EXIF set aside."""
    database = job.folder / "focal.db"
    shutil.copyfile(job.folder / "database.db", database)
    with pycolmap.Database.open(database) as db:
        for camera in db.read_all_cameras():
            camera.has_prior_focal_length = False
            db.update_camera(camera)
    verification = pycolmap.TwoViewGeometryOptions()
    verification.ransac.random_seed = job.seed
    pycolmap.geometric_verification(database, two_view_geometry_options=verification)
    calibration = pycolmap.ViewGraphCalibrationOptions()
    calibration.random_seed = job.seed
    pycolmap.calibrate_view_graph(database, calibration)
    return map_incrementally(job, database, progress)
