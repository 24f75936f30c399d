"""EXIF is believed where it can be true."""

import pytest

from pipeline.formats.exif import exposure_from_exif, focal_from_exif


@pytest.mark.parametrize(
    ("tags", "size", "expected"),
    [
        ({0xA405: 24}, (6000, 4000), 24 / 36 * 6000),
        ({0xA405: 24}, (4000, 6000), 24 / 36 * 6000),
        ({0xA405: 24}, (3376, 3376), None),  # a square crop: wrong by 1.9 in /real_alexander's photos
        ({0xA405: 24}, (1250, 1000), None),
        ({0xA405: 28, 0xA404: 2.0}, (4000, 3000), None),
        ({0xA405: 0}, (4000, 3000), None),
        ({0xA405: "x"}, (4000, 3000), None),
        ({0xA405: 5000}, (4000, 3000), None),
        # Canon G7 X, 13.2 x 8.8 mm sensor, 5472 x 3648: f = 8.8 mm is 3648 px; half that when resized to half
        ({0x920A: 8.8, 0xA20E: 5472 / 13.2 * 25.4, 0xA210: 2, 0xA002: 5472}, (5472, 3648), 3648.0),
        ({0x920A: 8.8, 0xA20E: 5472 / 13.2 * 25.4, 0xA210: 2, 0xA002: 5472}, (2736, 1824), 1824.0),
        # resized, and the recorded width with it: the sensor would be 3.9 mm wide
        ({0x920A: 8.8, 0xA20E: 5472 / 13.2 * 25.4, 0xA210: 2, 0xA002: 1600}, (1600, 1066), None),
    ],
)
def test_focal_length_is_believed_only_from_uncropped_photos(tags, size, expected):
    focal = focal_from_exif(tags, width=size[0], height=size[1])
    assert focal.px == (None if expected is None else pytest.approx(expected, rel=1e-3))


@pytest.mark.parametrize(
    ("tags", "size", "hint", "reason"),
    [
        # /real_alexander: 24 mm equivalent, a square of 3376 px from 6000 x 4000; naively wrong by 1.9
        ({0xA405: 24, 0x920A: 16.0, 0xA002: 1600, 0xA003: 1600}, (1600, 1600), 1600.0, "no sensor is 1.00 : 1"),
        # /real_gold_cape: the density is of another width than the one recorded beside it
        ({0x920A: 18.138, 0xA20E: 10584.0, 0xA210: 2, 0xA002: 1600, 0xA003: 1600}, (1600, 1600), None, "no sensor"),
        ({0xA405: 24, 0xA002: 6000, 0xA003: 4000}, (4000, 4000), 4000.0, "cropped from 6000 x 4000 px"),
        ({0xA405: 24, 0xA404: 2.0}, (6000, 4000), 4000.0, "digital zoom of 2"),
        ({0xA405: 5000}, (4000, 3000), None, "absurd and ignored: 1.4e+02 times the photo's long side"),
    ],
)
def test_a_suspect_focal_length_is_told_and_no_more_than_a_hint(tags, size, hint, reason):
    focal = focal_from_exif(tags, width=size[0], height=size[1])
    assert focal.px is None and focal.suspect and reason in focal.notes[0]
    assert focal.hint_px == (None if hint is None else pytest.approx(hint, rel=1e-3))


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({0x829A: 0.02, 0x829D: 2.5, 0x8827: 800}, 2.56),
        ({0x829A: 0.01, 0x829D: 2.5, 0x8827: 800}, 1.28),
        ({0x829A: 0.02, 0x829D: 5.0, 0x8827: (800, 0)}, 0.64),  # two values, as EXIF allows
        ({0x829A: 0.02, 0x829D: 0.0, 0x8827: 800}, None),  # a lens that does not tell the camera
        ({0x829A: 0.02, 0x829D: 2.5, 0x8827: ()}, None),
        ({0x829A: "soon", 0x829D: 2.5, 0x8827: 800}, None),
        ({0x829A: 1e300, 0x829D: 1e-200, 0x8827: 1e200}, None),  # damaged: products of such overflow
        ({0x829A: 0.02, 0x829D: 1e200, 0x8827: 800}, None),
        ({}, None),
    ],
)
def test_exposure_is_time_and_sensitivity_over_the_aperture(tags, expected):
    assert exposure_from_exif(tags) == (None if expected is None else pytest.approx(expected))
