"""Cameras that another program solved: one typed value for all the files that are read.

Lenses have COLMAP's models and names (https://colmap.github.io/cameras.html), with two focal lengths each.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.errors import InputError
from pipeline.frames import check_rigid

MAX_SIDE_PX = 1_000_000

# Parameters after fx, fy, cx, cy. The models of the first row are pinholes when these are zero.
_STRAIGHT = {"PINHOLE": 0, "OPENCV": 4, "FULL_OPENCV": 8, "DIVISION": 1}
_BENT = {
    "OPENCV_FISHEYE": 4,
    "FOV": 1,
    "THIN_PRISM_FISHEYE": 8,
    "RAD_TAN_THIN_PRISM_FISHEYE": 12,
    "FISHEYE": 0,
    "EUCM": 2,
}
# Pairs of distortion parameters that are the x and the y of a vector in the image (tangential distortion, thin prisms).
_VECTORS = {
    "OPENCV": ((3, 2),),
    "FULL_OPENCV": ((3, 2),),
    "THIN_PRISM_FISHEYE": ((3, 2), (6, 7)),
    "RAD_TAN_THIN_PRISM_FISHEYE": ((6, 7), (8, 10), (9, 11)),
}

SizeOf: TypeAlias = Callable[[str], tuple[int, int] | None]
"""Width and height in pixels of the photo that a file's name means, or none when it is not among the photos."""


@dataclass(frozen=True, kw_only=True)
class Lens:
    """How a camera maps its rays to pixels.

    Attributes:
        model: COLMAP's name of the distortion model.
        fx: Focal length in pixels along x.
        fy: Focal length in pixels along y.
        cx: Principal point in pixels, corner-based.
        cy: Principal point in pixels, corner-based.
        distortion: The model's other parameters in COLMAP's order, e.g. k1 k2 p1 p2 of OPENCV.
        width: Image width in pixels.
        height: Image height in pixels.
        skew: Added to x in pixels, times the distorted y over the focal length (Metashape's b2).

    Raises:
        InputError: When the model is unknown, or a number is impossible.
    """

    model: str
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = ()
    width: int
    height: int
    skew: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what no lens can be."""
        count = (_STRAIGHT | _BENT).get(self.model)
        if count is None:
            raise InputError(f"has the camera model {self.model[:40]!r}, which has no pinhole to be undistorted to")
        if len(self.distortion) != count:
            raise InputError(f"has {len(self.distortion)} distortion parameters, {self.model} needs {count}")
        if not all(map(math.isfinite, self.params)) or not math.isfinite(self.skew):
            raise InputError("has intrinsics that are not finite")
        if min(self.fx, self.fy) <= 0:
            raise InputError(f"focal length {min(self.fx, self.fy):.3g} px is not positive")
        if not (1 <= self.width <= MAX_SIDE_PX and 1 <= self.height <= MAX_SIDE_PX):
            raise InputError(f"is {self.width} x {self.height} px: a side is 1 to {MAX_SIDE_PX} px")

    @property
    def params(self) -> tuple[float, ...]:
        """All parameters in COLMAP's order."""
        return (self.fx, self.fy, self.cx, self.cy, *self.distortion)

    @property
    def is_pinhole(self) -> bool:
        """Whether straight lines stay straight, so that the photo can be used as it is."""
        return self.model in _STRAIGHT and not any(self.distortion) and self.skew == 0

    @property
    def K(self) -> Float[Tensor, "3 3"]:
        """The intrinsics of a pinhole."""
        return torch.tensor([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], dtype=torch.float64)

    def resized(self, width: int, height: int) -> "Lens":
        """The lens for the photo resampled to `width` x `height`; distortion has no unit of length and stays."""
        x, y = width / self.width, height / self.height
        return dataclasses.replace(
            self,
            fx=self.fx * x,
            fy=self.fy * y,
            cx=self.cx * x,
            cy=self.cy * y,
            skew=self.skew * x,
            width=width,
            height=height,
        )

    def turned(self, upright_from_stored: Float[Tensor, "3 3"]) -> "Lens":
        """The lens for the photo turned by 0, 90, 180 or 270 degrees about the optical axis.

        Raises:
            InputError: When a lens with skew is turned by 90 degrees.
        """
        turn = upright_from_stored[:2, :2]
        quarter = bool(turn[0, 0] == 0)
        if quarter and self.skew:
            raise InputError("has skew (b2), which cannot be turned by 90 degrees")
        size = torch.tensor([self.width, self.height], dtype=torch.float64)
        middle = turn @ (torch.tensor([self.cx, self.cy], dtype=torch.float64) - size / 2)
        width, height = (turn.abs() @ size).tolist()
        distortion = list(self.distortion)
        for x, y in _VECTORS.get(self.model, ()):
            vector = torch.tensor([distortion[x], distortion[y]], dtype=torch.float64)
            distortion[x], distortion[y] = (turn @ vector).tolist()
        return dataclasses.replace(
            self,
            fx=self.fy if quarter else self.fx,
            fy=self.fx if quarter else self.fy,
            cx=width / 2 + float(middle[0]),
            cy=height / 2 + float(middle[1]),
            distortion=tuple(distortion),
            width=round(width),
            height=round(height),
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class GivenCamera:
    """A solved camera.

    Attributes:
        name: The photo as the file names it: a path, a file name, or one without its extension.
        lens: Its intrinsics.
        cam_from_world: Rigid pose in the frame of the file, OpenCV axes.

    Raises:
        InputError: When the pose is not rigid.
    """

    name: str
    lens: Lens
    cam_from_world: Float[Tensor, "4 4"]

    def __post_init__(self) -> None:
        """Refuse mirrored, scaled and endless poses."""
        check_rigid(self.cam_from_world, "its pose")


def _no_points() -> Float[Tensor, "points 3"]:
    return torch.zeros(0, 3, dtype=torch.float64)


@dataclass(frozen=True, eq=False, kw_only=True)
class GivenPoses:
    """What a file of poses holds.

    Attributes:
        program: Who wrote it, for the user.
        as_stored: Whether that program is known to pose the pixels as they are stored, without regard to EXIF's
            orientation; none when nobody knows.
        path: The file or folder that was read.
        cameras: The solved cameras whose size is known; without any other.
        total: How many cameras the file holds, solved or not.
        points: Sparse points in the frame of the file; may be empty.
        point_colors: Their sRGB colours in [0, 1].
        held_out: Names of photos that the file keeps for testing: they are not to be trained on.
        notes: What the user should know.
    """

    program: str
    as_stored: bool | None
    path: Path
    cameras: tuple[GivenCamera, ...]
    total: int
    points: Float[Tensor, "points 3"] = field(default_factory=_no_points)
    point_colors: Float[Tensor, "points 3"] = field(default_factory=_no_points)
    held_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@contextmanager
def told_with(where: str, path: Path) -> Iterator[None]:
    """Tell errors about a camera with its place in the file."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error.what}", path=path, remedy=error.remedy) from error


def moved_pose(cam_from_old: Float[Tensor, "4 4"], new_from_old: Float[Tensor, "4 4"]) -> Float[Tensor, "4 4"]:
    """The rigid pose of a camera in a world that a similarity takes the old one to."""
    scale = torch.linalg.det(new_from_old[:3, :3]) ** (1 / 3)
    pose = cam_from_old @ torch.linalg.inv(new_from_old)
    return torch.cat([pose[:3] * scale, pose[3:]])  # a scaled camera frame sees the same picture


def number(value: object, what: str) -> float:
    """A finite number from text or JSON.

    Raises:
        InputError: When it is something else.
    """
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise TypeError
        parsed = float(value)
    except (TypeError, ValueError, OverflowError):
        parsed = math.nan
    if not abs(parsed) < 1e300:
        raise InputError(f"{what} = {str(value)[:40]!r} is not a finite number")
    return parsed


def numbers(text: object, count: int, what: str) -> list[float]:
    """`count` finite numbers from a text with spaces between them.

    Raises:
        InputError: When there are others, or fewer or more.
    """
    words = text.split() if isinstance(text, str) else []
    if len(words) != count:
        raise InputError(f"{what} has {len(words)} numbers instead of {count}")
    return [number(word, what) for word in words]


def rotation_from_quaternion(w: float, x: float, y: float, z: float) -> Float[Tensor, "3 3"]:
    """The rotation of a Hamilton quaternion of any length.

    Raises:
        InputError: When the quaternion is zero.
    """
    q = torch.tensor([w, x, y, z], dtype=torch.float64)
    length = float(torch.linalg.norm(q))
    if not 1e-9 < length < math.inf:
        raise InputError(f"its quaternion has the length {length:.3g}")
    w, x, y, z = (q / length).tolist()
    return torch.tensor(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ],
        dtype=torch.float64,
    )


def rigid(rotation: Float[Tensor, "3 3"], translation: list[float]) -> Float[Tensor, "4 4"]:
    """The 4 x 4 transform x -> rotation x + translation."""
    transform = torch.eye(4, dtype=torch.float64)
    transform[:3, :3] = rotation
    transform[:3, 3] = torch.tensor(translation, dtype=torch.float64)
    return transform
