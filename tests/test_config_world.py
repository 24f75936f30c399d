"""What the user says about the world is read as said, or refused with the reason."""

import pytest

from pipeline.config import WorldConfig
from pipeline.errors import UsageError


def test_numbers_are_separated_by_commas_or_blanks() -> None:
    config = WorldConfig(up="0, 0,2", box=" -1 -1,-1, 1 1 1 ", distance="0,0,0 3,4,0 0.5")
    assert config.up_direction == (0, 0, 1)
    assert config.box_corners == ((-1, -1, -1), (1, 1, 1))
    assert config.metres_per_asset_unit == pytest.approx(0.1)
    assert config.front_direction is None and config.board_size is None


@pytest.mark.parametrize(
    ("known", "told"),
    [
        ({"up": "0,1"}, "world.up='0,1' is 2 numbers, 3 finite ones needed (as in --up '0,0,1')"),
        ({"up": "0,0,0"}, "has no direction"),
        ({"up": "up"}, "is not 3 numbers"),
        ({"up": "nan,0,1"}, "3 finite ones needed"),
        ({"front": "0,-3,0"}, "world.front='0,-3,0' runs along up (name a direction to the side of up)"),
        ({"up": "1,0,0", "front": "2,0.01,0"}, "runs along up"),
        ({"box": "0,0,0,1,1"}, "6 finite ones needed"),
        ({"box": "0,0,0,1,-1,1"}, "is empty: x0, y0 and z0 must be less than x1, y1 and z1"),
        ({"distance": "0,0,0 0,0,0 1"}, "its two points are one"),
        ({"distance": "0,0,0 0,0,1 -2"}, "-2 m between them are no distance"),
        ({"scale": 0.0}, "world.scale=0 is not a positive number"),
        ({"scale": 1.0, "distance": "0,0,0 0,0,1 2"}, "scale and distance of the section world all tell the scale"),
        ({"scale": 1.0, "marker_size_m": 0.05}, "scale and marker_size_m"),
        ({"marker_size_m": -1.0}, "outside 0 .. 100 m"),
        ({"marker_dictionary": "9X9"}, "is not one of 4X4_50"),
        ({"board_squares": "seven"}, "is not COLUMNSxROWS"),
        ({"board_squares": "7x5", "marker_size_m": 0.03}, "needs marker_size_m below square_size_m, not 0.03 and 0"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(known: dict, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        WorldConfig(**known)
    assert told in str(caught.value)
