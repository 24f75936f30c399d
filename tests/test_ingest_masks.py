"""Masks that came along are matched, checked as a set, and turned with their photos."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import InputError
from pipeline.formats.images import read_image, read_mask
from pipeline.stages.ingest_mask_figures import turned_upright
from tests.ingest_runs import ingest, no_children
from tests.stage_context import picture, write_photos

__all__ = ["no_children"]
pytestmark = pytest.mark.usefixtures("no_children")

# How Pillow turns an upright picture into the one that a sensor with this orientation stored.
STORED = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}


def stored(upright: Image.Image, orientation: int) -> Image.Image:
    return upright.transpose(Image.Transpose(STORED[orientation])) if orientation in STORED else upright


def l_shape(width: int = 60, height: int = 40) -> Image.Image:
    """A mask that looks different after every turn and every reflection, larger than what counts as soft."""
    levels = np.zeros((height, width), np.uint8)
    levels[5 : height - 8, 10:20] = levels[height - 16 : height - 8, 10 : width - 15] = 255
    return Image.fromarray(levels)


def disc(width: int = 120, height: int = 90) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.uint8(255 * ((x - width / 2) ** 2 + (y - height / 2) ** 2 < (height / 3) ** 2))


def refusal(images: Path) -> str:
    with pytest.raises(InputError) as caught:
        ingest(images)
    assert caught.value.exit_code == 3
    return str(caught.value)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_stored_like_the_sensor_is_turned_as_exif_says(orientation: int) -> None:
    upright = l_shape()
    turned = turned_upright(np.asarray(stored(upright, orientation)), orientation)
    np.testing.assert_array_equal(turned, np.asarray(upright))


@pytest.mark.parametrize("like_sensor", [False, True], ids=["upright masks", "masks stored like the sensor"])
def test_photos_of_mixed_orientations_are_those_turned_before_and_masks_fit_to_the_pixel(
    like_sensor: bool, tmp_path: Path
) -> None:
    images, plain = tmp_path / "in", tmp_path / "turned_before"
    for folder in (images / "masks", plain):
        folder.mkdir(parents=True)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        photo = picture(orientation, 60, 40)
        photo.save(plain / f"{orientation}.png")
        stored(photo, orientation).save(images / f"{orientation}.png", exif=exif)
        mask = stored(l_shape(), orientation) if like_sensor else l_shape()
        mask.save(images / "masks" / f"{orientation}.png")
    photos, warnings = ingest(images)
    expected, _ = ingest(plain)
    for photo, before in zip(photos.photos, expected.photos, strict=True):
        np.testing.assert_array_equal(read_image(photo.image_path), read_image(before.image_path), photo.name)
        np.testing.assert_array_equal(read_mask(photo.mask_path).numpy() * 255, np.asarray(l_shape()), photo.name)
        assert (photo.width, photo.height) == (60, 40)
    assert sum("stored like the sensor" in w for w in warnings) == (7 if like_sensor else 0)


def test_missing_and_foreign_masks_are_told_by_name(tmp_path: Path) -> None:
    images = write_photos(tmp_path / "in", "a.jpg", "b.jpg", "c.jpg")
    (images / "masks").mkdir()
    for name in ("a", "c", "zebra"):
        l_shape(40, 30).save(images / "masks" / f"{name}.png")
    photos, warnings = ingest(images)
    assert [p.mask_path is not None for p in photos.photos] == [True, False, True]
    assert "1 of 3 photos have no mask, which will be made: b.jpg" in warnings
    assert "1 masks are named like none of the photos: zebra.png" in warnings


def test_all_masks_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    images = write_photos(tmp_path / "in", "a.jpg", "b.jpg", "c.jpg")
    (images / "masks").mkdir()
    l_shape(20, 15).save(images / "masks" / "a.png")
    l_shape(30, 40).save(images / "masks" / "b.png")
    (images / "masks" / "c.png").write_text("no picture")
    told = refusal(images)
    assert "in/masks: 3 of 3 masks do not fit: a.png is 20x15 px, its photo 40x30 px; b.png is 30x40 px" in told
    assert "its photo 40x30 px (turned by 90 degrees); c.png not an image" in told


def test_masks_of_one_colour_and_inverted_ones_are_listed(tmp_path: Path) -> None:
    images = tmp_path / "in"
    (images / "masks").mkdir(parents=True)
    for index, name in enumerate("abc"):
        picture(index, 120, 90).save(images / f"{name}.png")
        Image.fromarray(255 - disc()).save(images / "masks" / f"{name}.png")
    told = refusal(images)
    assert "in/masks: 3 of 3 masks seem inverted: a.png seems inverted: 100% of its border is white, and 100%" in told
    assert "white is the object, black the rest" in told
    for name, level in (("a", 0), ("b", 255)):
        Image.new("L", (120, 90), level).save(images / "masks" / f"{name}.png")
    told = refusal(images)
    assert "2 of 3 masks are all black or all white: a.png is all black; b.png is all white" in told


def test_one_inverted_and_one_soft_mask_are_flagged_by_name(tmp_path: Path) -> None:
    images = tmp_path / "in"
    (images / "masks").mkdir(parents=True)
    for index, name in enumerate("abcd"):
        picture(index, 120, 90).save(images / f"{name}.png")
        Image.fromarray(disc()).save(images / "masks" / f"{name}.png")
    Image.fromarray(255 - disc()).save(images / "masks" / "b.png")
    soft = disc().copy()
    soft[:, :60] //= 2
    Image.fromarray(soft).save(images / "masks" / "c.png")
    photos, warnings = ingest(images)
    assert len(photos.photos) == 4 and len(warnings) == 1
    assert "b.png: its mask seems inverted" in warnings[0] and "a.png" not in warnings[0]
    assert "c.png: 49% of its mask is neither object nor background, limit 10%" in warnings[0]
    verdict = {v.name: v for v in photos.verdicts}["c.png"]
    assert verdict.used and 0.4 < verdict.figures["mask_soft_share"] < 0.6
