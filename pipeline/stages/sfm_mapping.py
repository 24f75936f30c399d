"""From matches to models: incremental and global mapping, joining models, and a second chance for photos left over."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np  # before pycolmap, whose libraries would otherwise shadow zlib
import pycolmap

from pipeline.stages.sfm_job import Progress, SfmJob

Model = pycolmap.Reconstruction

MIN_MODEL = 3  # photos
LOOSE_INLIERS = 15  # of a pose found in the second chance; COLMAP's default is 30
LOOSE_INLIER_SHARE = 0.12  # and 0.25
TIE_POINTS = 30  # COLMAP's own limit for the inliers of a pose
JOIN_SHARE = 0.3  # of a photo's observations that have to fit the other model
JOIN_ERROR_PX = 8.0


@dataclass(frozen=True, eq=False, kw_only=True)
class Mapped:
    """What mapping made of one database.

    Attributes:
        models: The models, most photos first; empty when no pair of photos started one.
        database: The features and matches that they come from.
    """

    models: tuple[Model, ...]
    database: Path

    @property
    def registered(self) -> int:
        """Photos in the largest model."""
        return self.models[0].num_reg_images() if self.models else 0


def map_incrementally(job: SfmJob, database: Path, progress: Progress) -> Mapped:
    """COLMAP's incremental mapper; the largest model takes in others that overlap it, and photos left over."""
    models = _run(job, database, _options(job), progress)
    if models and models[0].num_reg_images() < len(job.photos):
        models = _join(models)
        models[0] = _second_chance(job, database, models[0], progress)
    return Mapped(models=tuple(models), database=database)


def map_globally(job: SfmJob, database: Path) -> Mapped:
    """COLMAP's global mapper (Pan and others, 2024): all poses at once, for chains that break an incremental one."""
    options = pycolmap.GlobalPipelineOptions()
    options.num_threads = 1  # two threads change the result by a large share of the scene
    options.random_seed = job.seed
    options.min_model_size = MIN_MODEL
    models = pycolmap.global_mapping(database, job.folder / "photos", _fresh(job.folder / "sparse"), options)
    for model in models.values():
        drop_poses(model, untied(model))
    return Mapped(models=tuple(_largest_first(models)), database=database)


def untied(model: Model) -> list[str]:
    """Photos that too few points tie to the rest, by COLMAP's names.

    The global mapper takes any pair that was verified; a few chance matches then glue strangers together. Here as in
    incremental mapping, a photo belongs when it sees 30 points of those that already do.
    """
    images = [i for i in model.images.values() if i.has_pose]
    column = {key: k for k, key in enumerate(model.points3D)}
    sees = np.zeros((len(images), len(column)), bool)
    for row, image in enumerate(images):
        sees[row, [column[p.point3D_id] for p in image.get_observation_points2D()]] = True
    tied = np.zeros(len(images), bool)
    if len(images):
        tied[sees.sum(1).argmax()] = True
    while True:
        grown = tied | ((sees & sees[tied].any(0)).sum(1) >= TIE_POINTS)
        if (grown == tied).all():
            return [image.name for image, kept in zip(images, tied, strict=True) if not kept]
        tied = grown


def drop_poses(model: Model, names: list[str]) -> None:
    """Take the poses of photos (COLMAP's names) out of a model, and the points that only they saw."""
    for name in names:
        image = model.find_image_with_name(name)
        if image is not None and image.has_pose:
            pycolmap.ObservationManager(model).deregister_frame(image.frame_id)


def _options(job: SfmJob) -> pycolmap.IncrementalPipelineOptions:
    options = pycolmap.IncrementalPipelineOptions()
    options.num_threads = options.mapper.num_threads = 1  # more threads make the result vary
    options.random_seed = job.seed
    options.min_model_size = MIN_MODEL
    options.extract_colors = False  # once, of the model that is kept
    return options


def _run(
    job: SfmJob,
    database: Path,
    options: pycolmap.IncrementalPipelineOptions,
    progress: Progress,
    start: Path | str = "",
) -> list[Model]:
    total, placed = len(job.photos), 2

    def count() -> None:
        nonlocal placed
        placed += 1
        progress(placed / total, f"{min(placed, total)} of {total} photos placed")

    models = pycolmap.incremental_mapping(
        database, job.folder / "photos", _fresh(job.folder / "sparse"), options, start, next_image_callback=count
    )
    return _largest_first(models)


def _largest_first(models: dict[int, Model]) -> list[Model]:
    return sorted(models.values(), key=lambda m: (-m.num_reg_images(), -m.num_points3D()))


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def _second_chance(job: SfmJob, database: Path, model: Model, progress: Progress) -> Model:
    """Try the photos that the model lacks once more, against the whole model and with looser thresholds."""
    start = _fresh(job.folder / "start")
    model.write(start)
    options = _options(job)
    options.multiple_models = False
    options.mapper.abs_pose_min_num_inliers = LOOSE_INLIERS
    options.mapper.abs_pose_min_inlier_ratio = LOOSE_INLIER_SHARE
    models = _run(job, database, options, progress, start)
    shutil.rmtree(start)
    better = [m for m in models if m.num_reg_images() > model.num_reg_images()]
    return better[0] if better else model


def _join(models: list[Model]) -> list[Model]:
    """Take photos of smaller models into the largest one, where a similarity between the two is found.

    The similarity comes from photos that both models placed; the poses alone are taken over, and the next mapping
    step makes the points anew.
    """
    largest, *others = models
    apart = []
    for other in others:
        shared = {name for name, _ in _posed(largest)} & {name for name, _ in _posed(other)}
        largest_from_other = None
        if len(shared) >= 1:
            largest_from_other = pycolmap.align_reconstructions_via_reprojections(
                other, largest, min_inlier_observations=JOIN_SHARE, max_reproj_error=JOIN_ERROR_PX
            )
        if largest_from_other is None:
            apart.append(other)
            continue
        other.transform(largest_from_other)
        for name, image in _posed(other):
            if name not in shared:
                _take_pose(largest, name, image)
    return [largest, *apart]


def _posed(model: Model) -> list[tuple[str, pycolmap.Image]]:
    return [(i.name, i) for i in model.images.values() if i.has_pose]


def _take_pose(model: Model, name: str, image: pycolmap.Image) -> None:
    """Register the photo of this name in `model` with another model's pose."""
    own = model.find_image_with_name(name)
    if own is None or own.has_pose:
        return
    frame = model.frames[own.frame_id]
    frame.rig_from_world = image.cam_from_world()
    model.register_frame(own.frame_id)
