"""What the text and the binary files of COLMAP both hold."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8

from pipeline.errors import InputError
from pipeline.formats.given_cameras import Lens

# Number, name and count of parameters: src/colmap/sensor/models.h. One focal length, where fx fy is not said.
_SINGLE = {
    0: ("SIMPLE_PINHOLE", 3, "PINHOLE", 0),
    2: ("SIMPLE_RADIAL", 4, "OPENCV", 3),
    3: ("RADIAL", 5, "OPENCV", 2),
    8: ("SIMPLE_RADIAL_FISHEYE", 4, "OPENCV_FISHEYE", 3),
    9: ("RADIAL_FISHEYE", 5, "OPENCV_FISHEYE", 2),
    12: ("SIMPLE_DIVISION", 4, "DIVISION", 0),
    14: ("SIMPLE_FISHEYE", 3, "FISHEYE", 0),
}
_DOUBLE = {
    1: ("PINHOLE", 4),
    4: ("OPENCV", 8),
    5: ("OPENCV_FISHEYE", 8),
    6: ("FULL_OPENCV", 12),
    7: ("FOV", 5),
    10: ("THIN_PRISM_FISHEYE", 12),
    11: ("RAD_TAN_THIN_PRISM_FISHEYE", 16),
    13: ("DIVISION", 5),
    15: ("FISHEYE", 4),
    16: ("EUCM", 6),
}
PARAM_COUNTS = {number: row[1] for number, row in (_SINGLE | _DOUBLE).items()}
MODEL_NUMBERS = {row[0]: number for number, row in (_SINGLE | _DOUBLE).items()}


@dataclass(frozen=True, kw_only=True)
class ImageRecord:
    """An image's pose: `cam_from_world` as a Hamilton quaternion (w x y z) and a translation."""

    name: str
    camera_id: int
    quaternion: tuple[float, float, float, float]
    translation: tuple[float, float, float]


@dataclass(frozen=True, eq=False, kw_only=True)
class PointRecords:
    """Sparse points: positions, sRGB colours, and the number of images that each is seen in."""

    xyz: Float[np.ndarray, "points 3"]
    rgb: UInt8[np.ndarray, "points 3"]
    track_length: Int[np.ndarray, "points"]

    @staticmethod
    def none() -> "PointRecords":
        """No points at all."""
        return PointRecords(xyz=np.zeros((0, 3)), rgb=np.zeros((0, 3), np.uint8), track_length=np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        """Refuse points at infinity.

        Raises:
            InputError: When a position is not finite.
        """
        if not np.isfinite(self.xyz).all():
            raise InputError(f"point {int(np.argmin(np.isfinite(self.xyz).all(1)))} is not finite")


def lens_from_params(model_number: int, params: list[float], width: int, height: int) -> Lens:
    """A lens with two focal lengths from COLMAP's parameters.

    Raises:
        InputError: When they describe no lens.
    """
    if model_number in _SINGLE:
        _, _, model, zeros = _SINGLE[model_number]
        focal, cx, cy, *rest = params
        params = [focal, focal, cx, cy, *rest, *[0.0] * zeros]
    else:
        model = _DOUBLE[model_number][0]
    fx, fy, cx, cy, *distortion = params
    return Lens(model=model, fx=fx, fy=fy, cx=cx, cy=cy, distortion=tuple(distortion), width=width, height=height)
