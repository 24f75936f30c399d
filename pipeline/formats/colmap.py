"""COLMAP's sparse models, text and binary (https://colmap.github.io/format.html).

Poses are world-to-camera with OpenCV axes, pixels corner-based: the conventions of this project. Rigs and frames of
newer versions (`rigs.bin`, `frames.bin`) need not be read: the images carry their own poses, too.
"""

import dataclasses
from pathlib import Path

import torch

from pipeline.errors import InputError
from pipeline.formats import colmap_binary, colmap_text
from pipeline.formats.colmap_records import ImageRecord, PointRecords
from pipeline.formats.given_cameras import GivenCamera, GivenPoses, Lens, rigid, rotation_from_quaternion, told_with

MAX_POINTS = 50_000  # what masks and the box need; more cost time in every later stage


def model_files(folder: Path) -> tuple[Path, ...]:
    """The files of a model in `folder`: cameras and images, and points if there are any; empty when it has none."""
    for suffix in (".bin", ".txt"):
        cameras, images, points = (folder / f"{name}{suffix}" for name in ("cameras", "images", "points3D"))
        if cameras.is_file() and images.is_file():
            return (cameras, images, points) if points.is_file() else (cameras, images)
    return ()


def read_colmap(folder: Path) -> GivenPoses:
    """Read the model in `folder`; a binary one wins over a text one, as in COLMAP.

    Raises:
        InputError: When the folder holds no model, or a file of it is damaged.
    """
    files = model_files(folder)
    if not files:
        raise InputError("holds no COLMAP model", path=folder, remedy="cameras and images, .bin or .txt, are needed")
    read = colmap_binary if files[0].suffix == ".bin" else colmap_text
    lenses = read.read_lenses(files[0])
    records = read.read_images(files[1])
    points = read.read_points(files[2]) if len(files) == 3 else PointRecords.none()
    cameras = tuple(_camera(record, lenses, files[1]) for record in records)
    if not cameras:
        raise InputError("holds no images", path=files[1])
    points = _strongest(points)
    return GivenPoses(
        program="COLMAP",
        as_stored=True,
        path=folder,
        cameras=cameras,
        total=len(cameras),
        points=torch.from_numpy(points.xyz),
        point_colors=torch.from_numpy(points.rgb).double() / 255,
    )


def _camera(record: ImageRecord, lenses: dict[int, Lens], path: Path) -> GivenCamera:
    with told_with(f"image {record.name[:200]}", path):
        if record.camera_id not in lenses:
            raise InputError(f"has the camera {record.camera_id}, which is not in the file of cameras")
        pose = rigid(rotation_from_quaternion(*record.quaternion), list(record.translation))
        return GivenCamera(name=record.name, lens=lenses[record.camera_id], cam_from_world=pose)


def _strongest(points: PointRecords) -> PointRecords:
    """Those that the most photos see."""
    if len(points.xyz) <= MAX_POINTS:
        return points
    kept = points.track_length.argsort(kind="stable")[-MAX_POINTS:]
    return dataclasses.replace(
        points, xyz=points.xyz[kept], rgb=points.rgb[kept], track_length=points.track_length[kept]
    )
