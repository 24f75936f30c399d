"""Settings of the world stage: what the user knows about up, front, extent and size of the object."""

import math
import re
from dataclasses import dataclass

from pipeline.errors import UsageError

Vector = tuple[float, float, float]

DICTIONARIES = (
    *(f"{bits}X{bits}_{count}" for bits in (4, 5, 6, 7) for count in (50, 100, 250, 1000)),
    *("APRILTAG_16H5", "APRILTAG_25H9", "APRILTAG_36H10", "APRILTAG_36H11", "ARUCO_MIP_36H12", "ARUCO_ORIGINAL"),
)
_MIN_SINE = 0.02  # of the angle between up and front: one degree


@dataclass(frozen=True, kw_only=True)
class WorldConfig:
    """Which way is up, and how large things are.

    Several numbers in one text are separated by commas or blanks; an empty text leaves the choice to the photos.

    Attributes:
        up: Direction "x,y,z" that becomes +Y, in the frame of the asset that a run without `up` and `front` makes.
        front: Direction "x,y,z" that becomes +Z, in the same frame; its part along up is taken off.
        box: The object's box "x0,y0,z0,x1,y1,z1" in the settled world, in place of the box around the masks.
        scale: Metres for each unit of the frame of the poses that came along.
        distance: "x,y,z x,y,z metres": two points and the metres between them, in the frame of the asset that a run
            with all other settings but without `distance` makes.
        marker_size_m: Edge of the black square of the ArUco markers in the photos (on a ChArUco board: of its
            markers); 0 looks for none.
        marker_dictionary: OpenCV's name of the markers' dictionary, without "DICT_".
        board_squares: "columns x rows" of a ChArUco board, as in 7x5; empty for loose markers.
        square_size_m: Edge of one square of that board.

    Raises:
        UsageError: For a text that is not what it should be, and for values that contradict each other.
    """

    up: str = ""
    front: str = ""
    box: str = ""
    scale: float | None = None
    distance: str = ""
    marker_size_m: float = 0.0
    marker_dictionary: str = "4X4_50"
    board_squares: str = ""
    square_size_m: float = 0.0

    def __post_init__(self) -> None:
        """Check the values."""
        up, front = self.up_direction or (0.0, 1.0, 0.0), self.front_direction
        if front is not None and math.dist(up, front) * math.dist(up, [-c for c in front]) < 2 * _MIN_SINE:
            raise UsageError(f"world.front={self.front!r} runs along up", remedy="name a direction to the side of up")
        box = self.box_corners
        if box is not None and any(low >= high for low, high in zip(*box, strict=True)):
            raise UsageError(
                f"world.box={self.box!r} is empty: x0, y0 and z0 must be less than x1, y1 and z1",
                remedy="start from the box that the masks stage printed",
            )
        if self.scale is not None and not 0 < self.scale < math.inf:
            raise UsageError(f"world.scale={self.scale:g} is not a positive number of metres per unit")
        told = {
            "scale": self.scale is not None,
            "distance": self.metres_per_asset_unit is not None,
            "marker_size_m": self.marker_size_m != 0,
        }
        if sum(told.values()) > 1:
            names = " and ".join(name for name, given in told.items() if given)
            raise UsageError(f"{names} of the section world all tell the scale", remedy="keep the one to be believed")
        self._check_markers()

    @property
    def up_direction(self) -> Vector | None:
        """`up` as a unit vector."""
        return _direction("up", self.up)

    @property
    def front_direction(self) -> Vector | None:
        """`front` as a unit vector."""
        return _direction("front", self.front)

    @property
    def box_corners(self) -> tuple[Vector, Vector] | None:
        """The lowest and the highest corner of `box`."""
        if not self.box:
            return None
        x0, y0, z0, x1, y1, z1 = _numbers("box", self.box, 6, "-0.5,-0.6,-0.5,0.5,0.6,0.5")
        return (x0, y0, z0), (x1, y1, z1)

    @property
    def metres_per_asset_unit(self) -> float | None:
        """What `distance` says: its metres over the length between its points."""
        if not self.distance:
            return None
        *points, metres = _numbers("distance", self.distance, 7, "0,0,0 0,0.5,0 0.12")
        length = math.dist(points[:3], points[3:])
        if length <= 0 or metres <= 0:
            what = "its two points are one" if length <= 0 else f"{metres:g} m between them are no distance"
            raise UsageError(f"world.distance={self.distance!r}: {what}")
        return metres / length

    @property
    def board_size(self) -> tuple[int, int] | None:
        """Columns and rows of squares of the ChArUco board."""
        if not self.board_squares:
            return None
        sides = re.fullmatch(r"\s*(\d{1,3})\s*x\s*(\d{1,3})\s*", self.board_squares)
        if sides is None or min(int(sides[1]), int(sides[2])) < 3:
            raise UsageError(f"world.board_squares={self.board_squares!r} is not COLUMNSxROWS of 3 squares or more")
        return int(sides[1]), int(sides[2])

    def _check_markers(self) -> None:
        if self.marker_dictionary not in DICTIONARIES:
            raise UsageError(
                f"world.marker_dictionary={self.marker_dictionary!r} is not one of {', '.join(DICTIONARIES)}"
            )
        for name in ("marker_size_m", "square_size_m"):
            if not 0 <= getattr(self, name) < 100:
                raise UsageError(f"world.{name}={getattr(self, name)} is outside 0 .. 100 m")
        if self.board_size is not None and not 0 < self.marker_size_m < self.square_size_m:
            raise UsageError(
                f"world.board_squares={self.board_squares} needs marker_size_m below square_size_m, not "
                f"{self.marker_size_m:g} and {self.square_size_m:g}",
                remedy="measure the edges of a marker and of a square on the printed board",
            )


def _direction(name: str, text: str) -> Vector | None:
    if not text:
        return None
    x, y, z = _numbers(name, text, 3, "0,0,1")
    length = math.hypot(x, y, z)
    if length < 1e-9:
        raise UsageError(f"world.{name}={text!r} has no direction")
    return x / length, y / length, z / length


def _numbers(name: str, text: str, count: int, example: str) -> list[float]:
    """The finite numbers in a text, separated by commas or blanks."""
    words = re.split(r"[,\s]+", text.strip().strip(","))
    try:
        numbers = [float(word) for word in words]
    except ValueError as error:
        raise UsageError(
            f"world.{name}={text!r} is not {count} numbers", remedy=f"as in --{name} {example!r}"
        ) from error
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise UsageError(
            f"world.{name}={text!r} is {len(numbers)} numbers, {count} finite ones needed",
            remedy=f"as in --{name} {example!r}",
        )
    return numbers
