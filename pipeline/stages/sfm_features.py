"""SIFT features of all photos in one COLMAP database, with one camera for each group of like photos."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np  # before pycolmap, whose libraries would otherwise shadow zlib
import pycolmap

from pipeline.formats import images
from pipeline.scene import Photo
from pipeline.stages.sfm_job import Progress, SfmJob

CHUNK_PER_THREAD = 3  # photos a thread gets in one call of the extractor: progress shows between calls
LARGE_PX = 1200  # doubling longer photos takes three quarters of the time, for features that the limit drops
GUESSED_FOCAL = 1.2  # times the long side, where EXIF says nothing; COLMAP's own guess


@dataclass(frozen=True, kw_only=True)
class FeatureSettings:
    """How features are found.

    Attributes:
        max_features: Kept per photo, the largest first; matching cost grows with its square.
        peak_threshold: Least contrast of a feature (difference of Gaussians, [0, 1]). COLMAP's default, 1/150, finds
            next to nothing in the dark parts of a photo; as the largest features are kept, bright photos lose none.
        doubled: Whether the smallest features are looked for in large photos, too, at twice their size.
        masks: Folder of masks named `<photo>.png`, white where features count, or none.
    """

    max_features: int
    peak_threshold: float = 0.002
    doubled: bool = False
    masks: Path | None = None


def find_features(job: SfmJob, database: Path, settings: FeatureSettings, progress: Progress) -> None:
    """Write a new database with a camera per `camera_label`, all photos in order, and their features.

    The photos are entered before the features, so that their numbers do not depend on which thread ends first.
    """
    database.unlink(missing_ok=True)
    folder = link_photos(job)
    for names in camera_groups(job).values():
        reader = pycolmap.ImageReaderOptions()
        reader.existing_camera_id = _write_camera(database, job.photos[names[0]], job.config.camera_model)
        pycolmap.import_images(database, folder, image_names=names, options=reader)
    reader = pycolmap.ImageReaderOptions()
    if settings.masks is not None:
        reader.mask_path = settings.masks
    options = _extraction(job, settings)
    names, chunk = list(job.photos), CHUNK_PER_THREAD * job.threads
    for start in range(0, len(names), chunk):
        progress(start / len(names), f"features of photo {start + 1} of {len(names)}")
        pycolmap.extract_features(
            database,
            folder,
            image_names=names[start : start + chunk],
            reader_options=reader,
            extraction_options=options,
            device=pycolmap.Device.cpu,
        )


def _extraction(job: SfmJob, settings: FeatureSettings) -> pycolmap.FeatureExtractionOptions:
    options = pycolmap.FeatureExtractionOptions()
    options.max_image_size = job.config.max_image_px
    options.num_threads = job.threads
    options.use_gpu = False
    options.sift.max_num_features = settings.max_features
    options.sift.peak_threshold = settings.peak_threshold
    long_side = min(job.config.max_image_px, *(max(p.width, p.height) for p in job.photos.values()))
    options.sift.first_octave = -1 if settings.doubled or long_side <= LARGE_PX else 0
    return options


def camera_groups(job: SfmJob) -> dict[str, list[str]]:
    """Photos that share intrinsics, by their label.

    A portrait photo of a camera that also took landscape ones has another size and so another label: its camera is
    refined apart, from the same start.
    """
    groups: dict[str, list[str]] = {}
    for name, photo in job.photos.items():
        groups.setdefault(f"{photo.camera_label} {photo.width}x{photo.height}", []).append(name)
    return groups


def link_photos(job: SfmJob) -> Path:
    """Give COLMAP one folder with all photos."""
    folder = job.folder / "photos"
    folder.mkdir(exist_ok=True)
    for name, photo in job.photos.items():
        link = folder / name
        link.unlink(missing_ok=True)
        link.symlink_to(photo.image_path.resolve())
    return folder


def link_masks(job: SfmJob, made: dict[str, Path] | None = None) -> Path:
    """Give COLMAP one folder with a mask for every photo: its own, that of `made`, else all white.

    COLMAP leaves a photo out, without an error, when its mask is missing.
    """
    folder = job.folder / "feature_masks"
    folder.mkdir(exist_ok=True)
    for name, photo in job.photos.items():
        link = folder / f"{name}.png"
        link.unlink(missing_ok=True)
        mask = photo.mask_path or (made or {}).get(name)
        if mask is None:
            images.write_png(link, np.full((photo.height, photo.width), 255, np.uint8))
        else:
            link.symlink_to(mask.resolve())
    return folder


def start_focal_px(photo: Photo) -> float:
    """The focal length that the refinement starts from."""
    return photo.focal_px or GUESSED_FOCAL * max(photo.width, photo.height)


def _write_camera(database: Path, photo: Photo, model: str) -> int:
    """Add a camera that starts from the EXIF focal length, or from COLMAP's guess."""
    camera = pycolmap.Camera.create_from_model_name(0, model, start_focal_px(photo), photo.width, photo.height)
    camera.has_prior_focal_length = photo.focal_px is not None
    with pycolmap.Database.open(database) as db:
        return int(db.write_camera(camera))
