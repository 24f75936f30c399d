"""COLMAP's text files: one record a line, two for an image; lines that start with # are comments."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline.errors import InputError
from pipeline.formats.colmap_records import MODEL_NUMBERS, PARAM_COUNTS, ImageRecord, PointRecords, lens_from_params
from pipeline.formats.files import read_regular
from pipeline.formats.given_cameras import Lens, number, told_with

_MAX_BYTES = 2 * 2**30


def read_lenses(path: Path) -> dict[int, Lens]:
    """Lenses by camera number from `cameras.txt`: CAMERA_ID MODEL WIDTH HEIGHT PARAMS[].

    Raises:
        InputError: When a line is damaged.
    """
    lenses = {}
    for line, words in _records(path):
        with told_with(f"line {line}", path):
            if len(words) < 4:
                raise InputError(f"has {len(words)} words, a camera at least 4")
            if words[1] not in MODEL_NUMBERS:
                raise InputError(f"has the model {words[1][:40]!r}, unknown or without a pinhole to undistort to")
            model = MODEL_NUMBERS[words[1]]
            params = [number(word, "a parameter") for word in words[4:]]
            if len(params) != PARAM_COUNTS[model]:
                raise InputError(f"has {len(params)} parameters, {words[1]} needs {PARAM_COUNTS[model]}")
            size = (_whole(words[2], "the width"), _whole(words[3], "the height"))
            lenses[_whole(words[0], "the camera")] = lens_from_params(model, params, *size)
    return lenses


def read_images(path: Path) -> list[ImageRecord]:
    """Poses from `images.txt`: IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then a line of points, maybe empty.

    Raises:
        InputError: When a line is damaged.
    """
    lines = ((line, text) for line, text in _lines(path) if not text.startswith("#"))
    records = []
    for line, text in lines:
        if not text.strip():
            continue
        with told_with(f"line {line}", path):
            words = text.split(maxsplit=9)
            if len(words) != 10:
                raise InputError(f"has {len(words)} words, an image 10")
            pose = [number(word, "the pose") for word in words[1:8]]
            records.append(
                ImageRecord(
                    name=words[9].strip(),
                    camera_id=_whole(words[8], "the camera"),
                    quaternion=(pose[0], pose[1], pose[2], pose[3]),
                    translation=(pose[4], pose[5], pose[6]),
                )
            )
            points = next(lines, (0, ""))[1].split()
            if len(points) % 3:
                raise InputError(
                    f"is followed by {len(points)} words instead of the image's points (x, y, number each)",
                    remedy="each image takes two lines, the second one empty if it has no points",
                )
    return records


def read_points(path: Path) -> PointRecords:
    """Sparse points from `points3D.txt`: POINT3D_ID X Y Z R G B ERROR TRACK[] as (IMAGE_ID, POINT2D_IDX).

    Raises:
        InputError: When a line is damaged.
    """
    xyz, rgb, track_length = [], [], []
    for line, words in _records(path):
        with told_with(f"line {line}", path):
            if len(words) < 8:
                raise InputError(f"has {len(words)} words, a point at least 8")
            xyz.append([number(word, "the position") for word in words[1:4]])
            color = [_whole(word, "the colour") for word in words[4:7]]
            if max(color) > 255:
                raise InputError(f"has the colour {max(color)}, at most 255")
            rgb.append(color)
            track_length.append((len(words) - 8) // 2)
    with told_with("its points", path):
        return PointRecords(
            xyz=np.array(xyz, np.float64).reshape(-1, 3),
            rgb=np.array(rgb, np.uint8).reshape(-1, 3),
            track_length=np.array(track_length, np.int64),
        )


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    text = read_regular(path, max_bytes=_MAX_BYTES).decode("utf-8", "surrogateescape")
    yield from enumerate(text.removeprefix("\ufeff").replace("\r", "").split("\n"), start=1)


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    for line, text in _lines(path):
        if text.strip() and not text.startswith("#"):
            yield line, text.split()


def _whole(word: str, what: str) -> int:
    if not (word.isascii() and word.isdigit() and len(word) <= 20):
        raise InputError(f"{what} is {word[:40]!r}, not a whole number")
    return int(word)
