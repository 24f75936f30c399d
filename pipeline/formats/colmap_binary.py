"""COLMAP's binary files: little-endian records without padding."""

import struct
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import InputError
from pipeline.formats.colmap_records import PARAM_COUNTS, ImageRecord, PointRecords, lens_from_params
from pipeline.formats.files import read_regular
from pipeline.formats.given_cameras import Lens, told_with

_MAX_BYTES = 4 * 2**30
_POINT2D_BYTES = 24  # x, y, point3D_id
_TRACK_BYTES = 8  # image_id, point2D_idx
_MAX_NAME_BYTES = 4096


class _Cursor:
    """A place in the bytes of a file, which cannot be read past its end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = read_regular(path, max_bytes=_MAX_BYTES)
        self.offset = 0

    def read(self, layout: str) -> tuple[Any, ...]:
        start = self.offset
        self.skip(struct.calcsize("<" + layout))
        return struct.unpack_from("<" + layout, self.data, start)

    def skip(self, size: int) -> None:
        if size > len(self.data) - self.offset:
            raise InputError(
                f"ends at byte {len(self.data)}, in the middle of a record that goes to {self.offset + size}",
                path=self.path,
                remedy="the file is truncated or no COLMAP model: copy it again",
            )
        self.offset += size

    def read_name(self) -> str:
        end = self.data.find(b"\0", self.offset, self.offset + _MAX_NAME_BYTES)
        if end < 0:
            raise InputError(f"holds a name without an end at byte {self.offset}", path=self.path)
        name = self.data[self.offset : end].decode("utf-8", "surrogateescape")
        self.offset = end + 1
        return name

    def read_count(self, smallest_record: int) -> int:
        """A number of records, against what the rest of the file can hold."""
        (count,) = self.read("Q")
        fitting = (len(self.data) - self.offset) // smallest_record
        if count > fitting:
            raise InputError(f"claims {count} records, and has room for {fitting}", path=self.path)
        return int(count)

    def finish(self) -> None:
        if self.offset != len(self.data):
            raise InputError(f"goes on for {len(self.data) - self.offset} bytes after its last record", path=self.path)


def read_lenses(path: Path) -> dict[int, Lens]:
    """Lenses by camera number from `cameras.bin`.

    Raises:
        InputError: When the file is damaged.
    """
    cursor = _Cursor(path)
    lenses = {}
    for _ in range(cursor.read_count(24)):
        camera_id, model, width, height = cursor.read("IiQQ")
        with told_with(f"camera {camera_id}", path):
            if model not in PARAM_COUNTS:
                raise InputError(f"has the model number {model}, which is unknown or has no pinhole to undistort to")
            params = [float(value) for value in cursor.read(f"{PARAM_COUNTS[model]}d")]
            lenses[camera_id] = lens_from_params(model, params, width, height)
    cursor.finish()
    return lenses


def read_images(path: Path) -> list[ImageRecord]:
    """Poses from `images.bin`.

    Raises:
        InputError: When the file is damaged.
    """
    cursor = _Cursor(path)
    records = []
    for _ in range(cursor.read_count(73)):
        _, *pose, camera_id = cursor.read("I7dI")
        name = cursor.read_name()
        records.append(
            ImageRecord(
                name=name,
                camera_id=camera_id,
                quaternion=(pose[0], pose[1], pose[2], pose[3]),
                translation=(pose[4], pose[5], pose[6]),
            )
        )
        cursor.skip(cursor.read_count(_POINT2D_BYTES) * _POINT2D_BYTES)
    cursor.finish()
    return records


def read_points(path: Path) -> PointRecords:
    """Sparse points from `points3D.bin`.

    Raises:
        InputError: When the file is damaged.
    """
    cursor = _Cursor(path)
    count = cursor.read_count(51)
    xyz, rgb = np.zeros((count, 3)), np.zeros((count, 3), np.uint8)
    track_length = np.zeros(count, np.int64)
    for index in range(count):
        _, x, y, z, r, g, b, _ = cursor.read("Q3d3Bd")
        xyz[index], rgb[index] = (x, y, z), (r, g, b)
        track_length[index] = cursor.read_count(_TRACK_BYTES)
        cursor.skip(int(track_length[index]) * _TRACK_BYTES)
    cursor.finish()
    with told_with("its points", path):
        return PointRecords(xyz=xyz, rgb=rgb, track_length=track_length)
