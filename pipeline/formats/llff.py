"""LLFF's `poses_bounds.npy` (https://github.com/Fyusion/LLFF, "Using your own poses").

One row of 17 numbers for each image in order of file name: a 3 x 5 matrix [R | t | h w f] by rows, and the nearest
and farthest depth. R and t are camera-to-world; R's columns are the camera's axes down, right and back. The image is
h x w pixels with the focal length f and the principal point in its middle; lens distortion, if COLMAP found any, was
dropped by LLFF. The file has no names, so that it fits only the complete set of images that it was made of.
"""

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from tokenize import TokenError

import numpy as np
import torch
from jaxtyping import Float

from pipeline.errors import InputError
from pipeline.formats.files import read_regular
from pipeline.formats.given_cameras import MAX_SIDE_PX, GivenCamera, GivenPoses, Lens, told_with
from pipeline.frames import cam_from_world_from_llff_pose

_MAX_BYTES = 64 * 2**20
_COLUMNS = 17
# What NumPy raises on bytes that are no array; it reads the header as Python's source code.
_DAMAGED = (ValueError, EOFError, OverflowError, TypeError, MemoryError, RecursionError, SyntaxError, TokenError)


def read_llff(path: Path, names: Sequence[str]) -> GivenPoses:
    """Read the cameras of the images `names`, which must be all that the file was made of.

    Raises:
        InputError: When the file is damaged, or has another number of rows than there are images.
    """
    rows = _read_rows(path)
    if len(rows) != len(names):
        raise InputError(
            f"holds {len(rows)} cameras for {len(names)} photos, and tells them apart by their order only",
            path=path,
            remedy="give exactly the photos that LLFF was given, or another file of poses, which has names",
        )
    cameras = []
    for index, (row, name) in enumerate(zip(rows, sorted(names), strict=True)):
        with told_with(f"row {index} ({name})", path):
            cameras.append(_camera(row, name))
    return GivenPoses(program="LLFF", as_stored=True, path=path, cameras=tuple(cameras), total=len(cameras))


def _read_rows(path: Path) -> Float[np.ndarray, "rows 17"]:
    data = read_regular(path, max_bytes=_MAX_BYTES)
    try:
        with warnings.catch_warnings(action="ignore"):  # about headers of Python 2
            header = io.BytesIO(data)
            version = np.lib.format.read_magic(header)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(header)  # looked at first: a header may claim more than the file holds
            if dtype.kind != "f" or len(shape) != 2 or shape[1] != _COLUMNS or shape[0] * _COLUMNS > len(data):
                raise InputError(f"holds {dtype} {shape}, not rows of {_COLUMNS} floats", path=path)
            rows = np.load(io.BytesIO(data), allow_pickle=False).astype(np.float64)
    except _DAMAGED as error:
        raise InputError(f"is no NumPy array: {' '.join(str(error).split())[:120]}", path=path) from error
    if len(rows) == 0:
        raise InputError("holds no cameras", path=path)
    return np.asarray(rows)


def _camera(row: Float[np.ndarray, "17"], name: str) -> GivenCamera:
    if not np.isfinite(row[:15]).all():
        raise InputError("its pose or size is not finite")
    matrix = torch.from_numpy(row[:15].reshape(3, 5))
    height, width, focal = matrix[:, 4].tolist()
    if not (1 <= min(width, height) and max(width, height) <= MAX_SIDE_PX):
        raise InputError(f"is {width:g} x {height:g} px")
    width, height = round(width), round(height)
    lens = Lens(model="PINHOLE", fx=focal, fy=focal, cx=width / 2, cy=height / 2, width=width, height=height)
    world_from_llff_cam = torch.eye(4, dtype=torch.float64)
    world_from_llff_cam[:3] = matrix[:, :4]
    if float(torch.linalg.det(world_from_llff_cam)) < 0.5:
        raise InputError("its rotation is mirrored, scaled or singular")
    return GivenCamera(name=name, lens=lens, cam_from_world=cam_from_world_from_llff_pose(world_from_llff_cam))
