"""Poses that came along with the photos."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.child import run_child
from pipeline.config import PosesConfig
from pipeline.errors import InputError
from pipeline.formats.given_cameras import GivenCamera, GivenPoses, Lens
from pipeline.formats.pose_files import read_poses
from pipeline.scene import Camera, Photo, Photos, View
from pipeline.stages.poses_fit import fit_to_photos
from pipeline.stages.poses_match import PhotoNames
from pipeline.stages.poses_view import photo_record, still_view
from pipeline.workspace import StageContext


@dataclass(frozen=True, eq=False, kw_only=True)
class GivenViews:
    """Views of the photos that a file of poses knows, in its frame.

    Attributes:
        views: The posed photos, undistorted.
        points: Sparse points of the file; may be empty.
        point_colors: Their sRGB colours in [0, 1].
        held_out: Names of photos that the file keeps for testing.
    """

    views: list[View]
    points: Float[Tensor, "points 3"]
    point_colors: Float[Tensor, "points 3"]
    held_out: frozenset[str]


def given_views(photos: Photos, path: Path, config: PosesConfig, context: StageContext) -> GivenViews:
    """Read the poses at `path`, match them to the photos by name, and take the distortion out of photos and masks.

    Raises:
        InputError: When the file is damaged, names none of the photos, or its cameras do not fit their photos.
    """
    names = PhotoNames(photos.photos, path)
    given = read_poses(path, size_of=names.size_of, names=_all_names(photos))
    matched = names.match(given.cameras)
    held_out = frozenset(photo.name for name in given.held_out if (photo := names.find(name)) is not None)
    if not matched:
        raise InputError(
            f"none of its {given.total} frames names one of the {len(photos.photos)} photos{_example(given, photos)}",
            path=path,
            remedy="names must end in the photos' names; --poses solve has the poses solved instead",
        )
    for note in given.notes:
        context.warn(f"{path.name}: {note}")
    fitted = fit_to_photos(matched, given, context.warn)
    bent = [(photo, camera.lens) for camera, photo in fitted if not camera.lens.is_pinhole]
    undistorted = _undistort(bent, config, context) if bent else {}
    views = [_view(photo, camera, undistorted.get(photo.name), context.folder) for camera, photo in fitted]
    context.progress(1.0, f"{len(views)} poses of {given.program} read")
    return GivenViews(views=views, points=given.points, point_colors=given.point_colors, held_out=held_out)


def _all_names(photos: Photos) -> list[str]:
    """Every photo that came in, also those that ingest left out."""
    return sorted({p.name for p in photos.photos} | {v.name for v in photos.verdicts})


def _example(given: GivenPoses, photos: Photos) -> str:
    if not given.cameras:
        return ""
    return f", as {given.cameras[0].name[:80]!r} against {photos.photos[0].name!r}"


def _undistort(bent: list[tuple[Photo, Lens]], config: PosesConfig, context: StageContext) -> dict[str, dict[str, Any]]:
    """Records of undistorted photos by name, made in a child process."""
    lenses = list(dict.fromkeys(lens for _, lens in bent))
    arguments = {
        "folder": str(context.folder),
        "lenses": [dataclasses.asdict(lens) for lens in lenses],
        "photos": [photo_record(photo) for photo, _ in bent],
        "lens_of": [lenses.index(lens) for _, lens in bent],
    }
    result = run_child(
        "pipeline.stages.sfm_given:undistort_photos",
        arguments,
        timeout_s=config.timeout_s,
        log=context.folder / "undistort.log",
        progress=context.progress,
    )
    return {record["photo"]: record for record in result["views"]}


def _view(photo: Photo, given: GivenCamera, record: dict[str, Any] | None, folder: Path) -> View:
    if record is None:
        lens = given.lens
        camera = Camera(K=lens.K, cam_from_world=given.cam_from_world, width=lens.width, height=lens.height)
        return still_view(photo, photo.deep_path or photo.image_path, photo.mask_path, camera)
    camera = Camera(
        K=torch.tensor(record["K"], dtype=torch.float64),
        cam_from_world=given.cam_from_world,
        width=record["width"],
        height=record["height"],
    )
    mask_path = record["mask_path"] and folder / "masks" / record["mask_path"]
    return still_view(photo, folder / "images" / record["image_path"], mask_path, camera)
