"""Ingest keeps what can be used, names what cannot, and gives later stages upright photos under plain names."""

import hashlib
import json
import os
import re
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from pipeline.errors import InputError
from pipeline.formats.images import read_image, read_mask
from pipeline.stages.ingest import STAGE
from tests.ingest_runs import ingest, no_children
from tests.stage_context import picture, write_photos

__all__ = ["no_children"]


def refusal(images: Path, *, min_photos: int = 2) -> str:
    with pytest.raises(InputError) as caught:
        ingest(images, min_photos=min_photos)
    return str(caught.value)


@pytest.mark.usefixtures("no_children")
def test_clean_photos_are_copied_byte_by_byte(tmp_path: Path) -> None:
    images = write_photos(tmp_path / "in", "a.jpg", "b.PNG", "c.jpeg")
    photos, warnings = ingest(images)
    assert [p.name for p in photos.photos] == ["a.jpg", "b.PNG", "c.jpeg"]
    for photo in photos.photos:
        assert photo.image_path.read_bytes() == (images / photo.name).read_bytes()
        assert (photo.width, photo.height, photo.mask_path, photo.focal_px) == (40, 30, None, None)
    assert warnings == [] and photos.poses_path is None
    assert STAGE.summary(photos) == "3 photos, 40x30, 0 masks, no poses given"


@pytest.mark.usefixtures("no_children")
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_upright_with_their_alpha(orientation: int, tmp_path: Path) -> None:
    upright = np.asarray(picture(1).convert("RGBA")).copy()
    upright[:10, :, 3] = 0
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # how Pillow turns an upright picture into the stored one
    stored = Image.fromarray(upright)
    stored = stored.transpose(Image.Transpose(back[orientation])) if orientation in back else stored
    images = write_photos(tmp_path / "in", "b.png")
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(images / "a.png", exif=exif)
    photo = ingest(images)[0].photos[0]
    assert (photo.width, photo.height) == (40, 30)
    np.testing.assert_array_equal(read_image(photo.image_path), upright[..., :3])
    np.testing.assert_array_equal(read_mask(photo.mask_path).numpy() > 0.5, upright[..., 3] > 0)


@pytest.mark.usefixtures("no_children")
def test_a_given_mask_wins_over_alpha_and_an_empty_alpha_is_none(tmp_path: Path) -> None:
    images = write_photos(tmp_path / "in", "c.png")
    left, top = np.zeros((2, 30, 40), np.uint8)
    left[:, :20] = top[:10] = 255
    for name, alpha in (("a.png", left), ("b.png", np.zeros_like(left))):
        photo = picture(ord(name[0])).convert("RGBA")
        photo.putalpha(Image.fromarray(alpha))
        photo.save(images / name)
    (images / "masks").mkdir()
    Image.fromarray(top).save(images / "masks" / "a.png")
    photos = ingest(images)[0].photos
    assert [p.mask_path is not None for p in photos] == [True, False, False]
    np.testing.assert_array_equal(read_mask(photos[0].mask_path).numpy(), top / 255)


@pytest.mark.usefixtures("no_children")
@pytest.mark.parametrize(
    ("size", "value", "told"),
    [
        ((20, 15), None, "masks/a.png: is 20x15 px, its photo 40x30 px (masks must fit"),
        ((30, 40), None, "masks/a.png: is 30x40 px, its photo 40x30 px (turned by 90 degrees)"),
        ((40, 30), 255, "masks/a.png: is all white (mark the object white"),
        ((40, 30), 0, "masks/a.png: is all black (mark the object white"),
    ],
)
def test_masks_that_cannot_belong_to_the_photo_stop_the_run(size, value, told: str, tmp_path: Path) -> None:
    images = write_photos(tmp_path / "in", "a.jpg", "b.jpg")
    (images / "masks").mkdir()
    mask = Image.new("L", size, value or 0)
    if value is None:
        mask.paste(255, (3, 3, 9, 9))
    mask.save(images / "masks" / "a.png")
    assert told in refusal(images)


@pytest.mark.usefixtures("no_children")
def test_what_cannot_be_used_is_left_out_by_name(tmp_path: Path) -> None:
    images = write_photos(tmp_path / "in", "good.jpg", "fine.png", "short.jpg")
    (images / "short.jpg").write_bytes((images / "short.jpg").read_bytes()[:300])
    (images / "empty.jpg").touch()
    (images / "page.jpg").write_text("<!doctype html><html></html>")
    Image.new("RGB", (40, 30), (3, 3, 3)).save(images / "cap.jpg")
    Image.new("RGB", (40, 30), (255, 255, 255)).save(images / "white.png")
    picture(1).save(images / "twin.png")  # as fine.png
    os.mkfifo(images / "pipe.jpg")
    (images / "dead.jpg").symlink_to("nowhere")
    (images / "loop.jpg").symlink_to("loop.jpg")
    (images / "folder.jpg").mkdir()
    (images / "notes.txt").touch()
    photos, warnings = ingest(images)
    assert [p.name for p in photos.photos] == ["fine.png", "good.jpg"]
    expected = {
        "notes.txt": "1 files are no photos",
        "short.jpg": "truncated",
        "empty.jpg": "0 bytes",
        "page.jpg": "text/html",
        "cap.jpg": "shows nothing",
        "white.png": "shows nothing",
        "twin.png": "is the same picture as fine.png",
        "pipe.jpg": "named pipe",
        "dead.jpg": "leads nowhere",
        "loop.jpg": "leads in a circle",
        "folder.jpg": "a folder",
    }
    assert len(warnings) == len(expected)
    for name, reason in expected.items():
        assert any(name in w and reason in w for w in warnings), (name, warnings)


def test_libraries_do_not_print_past_the_run(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    """A 16-bit PNG with a broken colour profile, at which libpng prints, and a TIFF at which libtiff does."""
    images = write_photos(tmp_path / "in", "a.jpg", "b.jpg")
    (images / "masks").mkdir()
    deep = cv2.imencode(".png", np.random.default_rng(0).integers(0, 65536, (30, 40, 3), np.uint16))[1].tobytes()
    profile = b"iCCPx\0\0" + zlib.compress(b"garbage")
    chunk = struct.pack(">I", len(profile) - 4) + profile + struct.pack(">I", zlib.crc32(profile))
    at = deep.index(b"IDAT") - 4
    for path in (images / "deep.png", images / "masks" / "a.png"):
        path.write_bytes(deep[:at] + chunk + deep[at:])
    picture(1).save(images / "torn.tif", compression="tiff_lzw")
    torn = bytearray((images / "torn.tif").read_bytes())
    torn[200:260] = b"\xff" * 60
    (images / "torn.tif").write_bytes(torn)
    photos, warnings = ingest(images)
    assert [p.name for p in photos.photos] == ["a.jpg", "b.jpg", "deep.png"]
    assert sum("left out" in w for w in warnings) == 1
    assert capfd.readouterr() == ("", "")
    assert b"iCCP" in (tmp_path / "in.ingest" / "decode.log").read_bytes()
    os.write(2, b"told")
    assert capfd.readouterr().err == "told"


@pytest.mark.usefixtures("no_children")
def test_too_few_usable_photos_are_refused_with_the_first_problem(tmp_path: Path) -> None:
    images = write_photos(tmp_path / "in", "a.jpg", "b.jpg")
    (images / "c.jpg").write_text("hello")
    told = refusal(images, min_photos=3)
    assert "2 of 3 photos usable, at least 3 needed; first problem:" in told
    assert "c.jpg: not an image (text)" in told and "40 or more photos" in told


@pytest.mark.usefixtures("no_children")
def test_pictures_that_look_the_same_are_kept_when_poses_tell_them_apart(tmp_path: Path) -> None:
    images = write_photos(tmp_path / "in", "a.png")
    (images / "b.png").write_bytes((images / "a.png").read_bytes())
    (images / "transforms.json").write_text("{}")
    photos = ingest(images)[0]
    assert len(photos.photos) == 2 and photos.poses_path == images / "transforms.json"


@pytest.mark.usefixtures("no_children")
def test_any_name_works_and_later_stages_see_plain_ones(tmp_path: Path) -> None:
    names = [
        "a photo.jpg",
        "a.jpeg",
        "a.jpg",
        "a.png",
        "été 写真 📷.png",
        '"quo\'tes" $(x) `y`; #.jpg',
        "<script>alert(1)<.jpg",
        "new\nline.jpg",
        "x" * 251 + ".jpg",
        "%s{0}[bold].jpg",
        "-rf.jpg",
        os.fsdecode(b"\xff\xfe latin.jpg"),
    ]
    images = write_photos(tmp_path / "in", *names)
    photos = ingest(images)[0].photos
    assert sorted(p.name for p in photos) == sorted(names)
    assert len({p.image_path for p in photos}) == len({p.image_path.stem for p in photos}) == len(names)
    for photo in photos:
        assert re.fullmatch(r"[\w-]+", photo.image_path.stem, re.ASCII)
        assert photo.image_path.read_bytes() == (images / photo.name).read_bytes()


@pytest.mark.usefixtures("no_children")
def test_odd_photos_are_used_and_what_is_odd_is_told(tmp_path: Path) -> None:
    images = tmp_path / "in"
    images.mkdir()
    photo = picture(1)
    photo.save(images / "plain.png")
    picture(2).convert("CMYK").save(images / "cmyk.jpg")
    picture(3).convert("L").save(images / "grey.png")
    picture(4).quantize(64).save(images / "palette.png")
    cut = picture(5).convert("RGBA")
    cut.paste((0, 0, 0, 0), (0, 0, 15, 30))
    cut.save(images / "cut.png")
    for orientation in (0, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        picture(6 + orientation).save(images / f"turn{orientation}.png", exif=exif)
    picture(20).save(images / "frames.tif", save_all=True, append_images=[picture(21)])
    photos, warnings = ingest(images)
    assert len(photos.photos) == 8 and all(v.used for v in photos.verdicts)
    assert [p.name for p in photos.photos if p.mask_path is not None] == ["cut.png"]
    by_name = {p.name: p for p in photos.photos}
    for name, seed in (("turn0.png", 6), ("turn9.png", 15), ("frames.tif", 20)):
        np.testing.assert_array_equal(read_image(by_name[name].image_path), np.asarray(picture(seed)), name)
    told = {
        "cmyk.jpg": "CMYK converted to RGB",
        "grey.png": "grey, no colour",
        "turn9.png": "EXIF orientation 9 is none of 1 to 8 and taken as 1",
        "frames.tif": "first of 2 frames",
    }
    reasons = {v.name: v.reason for v in photos.verdicts}
    for name, note in told.items():
        assert f"{name}: {note}" in warnings and note in reasons[name]
    assert any("turn0.png" in w and "orientation 0" in w for w in warnings)
    assert reasons["plain.png"] == "" and not any("plain.png" in w for w in warnings)


@pytest.mark.usefixtures("no_children")
def test_the_manifest_says_where_every_file_came_from(tmp_path: Path) -> None:
    images = write_photos(tmp_path / "in", "a.jpg", "b.jpg", "notes.txt")
    (images / "c.jpg").write_text("no photo")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(7).save(images / "d.png", exif=exif)
    ingest(images)
    folder = tmp_path / "in.ingest"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["ignored"] == ["notes.txt"]
    entries = {e["name"]: e for e in manifest["photos"]}
    for name, entry in entries.items():
        data = (images / name).read_bytes()
        assert (entry["sha256"], entry["bytes"]) == (hashlib.sha256(data).hexdigest(), len(data))
        assert entry["path"] == str(images / name) and entry["used"] == (name != "c.jpg")
    assert (
        entries["d.png"]["orientation_applied"] == 6 and "turned upright (orientation 6)" in entries["d.png"]["notes"]
    )
    assert (entries["d.png"]["width"], entries["d.png"]["height"]) == (30, 40)
    assert "text" in entries["c.jpg"]["reason"] and entries["c.jpg"]["image"] is None
    kept = {e["image"] for e in entries.values() if e["used"]}
    assert {f"images/{p.name}" for p in (folder / "images").iterdir()} == kept
    assert not (folder / "work").exists()


@pytest.mark.usefixtures("no_children")
def test_exposures_are_told_relative_to_each_other_or_not_at_all(tmp_path: Path) -> None:
    images = write_photos(tmp_path / "in", "c.jpg")
    for name, seconds in (("a.jpg", 0.01), ("b.jpg", 0.02), ("c.jpg", 0.04)):
        exif = Image.Exif()
        exif.get_ifd(0x8769).update({0x829A: seconds, 0x829D: 4.0, 0x8827: 200})
        picture(ord(name[0])).save(images / name, exif=exif)
    assert [p.exposure for p in ingest(images)[0].photos] == pytest.approx([0.5, 1.0, 2.0])
    picture(9).save(images / "d.jpg")
    assert [p.exposure for p in ingest(images)[0].photos] == [1.0] * 4
