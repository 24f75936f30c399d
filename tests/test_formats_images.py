"""Pictures in, pictures out: every encoding gives the same pixels, every damaged file gives one clear line."""

import io
import os
import struct
import zlib

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from pipeline.errors import InputError, ResourceError
from pipeline.formats import images
from pipeline.formats.files import write_atomic


@pytest.fixture
def picture():
    """A smooth picture without any symmetry, 24 wide and 16 high."""
    y, x = np.mgrid[0:16, 0:24]
    return np.stack([x * 10, y * 15, (x + y) * 6], -1).astype(np.uint8)


def exif(**tags):
    block = Image.Exif()
    names = {"orientation": 0x0112, "make": 0x010F, "model": 0x0110}
    ids = {"focal": 0x920A, "f35": 0xA405, "zoom": 0xA404, "width": 0xA002, "fpx": 0xA20E, "unit": 0xA210}
    for key, value in tags.items():
        if key in names:
            block[names[key]] = value
        else:
            block.get_ifd(0x8769)[ids[key]] = value
    return block


def png_chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_lossless_formats_decode_to_the_same_pixels(picture, tmp_path, suffix):
    path = tmp_path / f"photo.{suffix}"
    Image.fromarray(picture).save(path, lossless=True)
    photo = images.decode_photo(path)
    assert np.array_equal(photo.rgb, picture)
    assert photo.alpha is None and photo.already_clean is (suffix == "png")
    assert images.image_size(path) == (24, 16)


def test_jpeg_is_close_and_clean(picture, tmp_path):
    images.write_jpeg(tmp_path / "a.jpg", picture, quality=95)
    photo = images.decode_photo(tmp_path / "a.jpg")
    assert np.abs(photo.rgb.astype(int) - picture).max() <= 8
    assert photo.already_clean and photo.notes == ()


def test_palette_grey_cmyk_and_one_bit_become_rgb(picture, tmp_path):
    source = Image.fromarray(picture)
    for name, mode in {"p.png": "P", "l.png": "L", "bit.png": "1", "la.png": "LA"}.items():
        source.convert(mode).save(tmp_path / name)
        photo = images.decode_photo(tmp_path / name)
        assert np.array_equal(photo.rgb, np.asarray(source.convert(mode).convert("RGB"))), mode
        assert not photo.already_clean
    source.convert("CMYK").save(tmp_path / "c.tif")
    photo = images.decode_photo(tmp_path / "c.tif")
    assert np.array_equal(photo.rgb, picture) and "CMYK converted to RGB" in photo.notes


def test_inverted_cmyk_jpeg_first_of_several_frames_and_avif(picture, tmp_path):
    """Adobe's CMYK JPEGs store inverted inks; phones write JPEGs with a second picture behind the first."""
    source = Image.fromarray(picture)
    source.convert("CMYK").save(tmp_path / "c.jpg", quality=98)
    source.save(tmp_path / "m.jpg", format="MPO", save_all=True, append_images=[source], quality=98)
    source.save(tmp_path / "a.avif", quality=98)
    for name, note in (("c.jpg", "CMYK converted to RGB"), ("m.jpg", "first of 2 frames"), ("a.avif", None)):
        photo = images.decode_photo(tmp_path / name)
        assert np.abs(photo.rgb.astype(int) - picture).mean() < 3, name
        assert photo.notes == ((note,) if note else ()) and not photo.already_clean


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bits_are_rounded_not_cut(tmp_path, suffix):
    deep = np.linspace(0, 65535, 24 * 16 * 3).reshape(16, 24, 3).astype(np.uint16)
    cv2.imwrite(str(tmp_path / f"d.{suffix}"), deep[..., ::-1])
    cv2.imwrite(str(tmp_path / f"g.{suffix}"), deep[..., 0])
    photo = images.decode_photo(tmp_path / f"d.{suffix}")
    assert np.array_equal(photo.rgb, np.rint(deep / 257).astype(np.uint8))
    assert np.array_equal(photo.deep, deep) and not photo.already_clean
    grey = images.decode_photo(tmp_path / f"g.{suffix}")
    assert np.array_equal(grey.rgb[..., 1], np.rint(deep[..., 0] / 257).astype(np.uint8))
    mask = images.read_mask(tmp_path / f"g.{suffix}")
    assert np.abs(mask.numpy() - deep[..., 0] / 65535).max() < 0.5 / 255 + 1e-6


def test_16_bit_alpha_survives(tmp_path):
    deep = np.linspace(0, 65535, 8 * 8 * 4).reshape(8, 8, 4).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "d.png"), deep[..., [2, 1, 0, 3]])
    photo = images.decode_photo(tmp_path / "d.png")
    assert np.array_equal(photo.rgb, np.rint(deep[..., :3] / 257).astype(np.uint8))
    assert np.array_equal(photo.alpha, np.rint(deep[..., 3] / 257).astype(np.uint8))


def test_alpha_is_kept_straight_and_dropped_when_opaque(picture, tmp_path):
    alpha = np.arange(16 * 24, dtype=np.uint8).reshape(16, 24, 1)
    images.write_png(tmp_path / "a.png", np.concatenate([picture, alpha], -1))
    photo = images.decode_photo(tmp_path / "a.png")
    assert np.array_equal(photo.rgb, picture) and np.array_equal(photo.alpha, alpha[..., 0])
    assert not photo.already_clean
    images.write_png(tmp_path / "o.png", np.concatenate([picture, np.full_like(alpha, 255)], -1))
    assert images.decode_photo(tmp_path / "o.png").alpha is None


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_orientation_is_applied_once(picture, tmp_path, orientation, suffix):
    """The stored pixels of each orientation, as EXIF 2.32 (4.6.4.A) defines rows and columns."""
    stored = {
        2: picture[:, ::-1],
        3: picture[::-1, ::-1],
        4: picture[::-1],
        5: picture.swapaxes(0, 1),
        6: picture.swapaxes(0, 1)[::-1],
        7: picture.swapaxes(0, 1)[::-1, ::-1],
        8: picture.swapaxes(0, 1)[:, ::-1],
    }.get(orientation, picture)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif(orientation=orientation), lossless=True)
    assert np.array_equal(images.decode_photo(path).rgb, picture)
    assert images.image_size(path) == (24, 16)
    assert np.allclose(images.read_mask(path).numpy(), picture / 255 @ [0.2126, 0.7152, 0.0722], atol=1e-5)


def test_profile_other_than_srgb_is_converted(picture, tmp_path):
    """A profile with sRGB's primaries and a linear curve: its values are encoded by sRGB's curve (within rounding)."""
    lab = ImageCms.createProfile("sRGB")
    srgb = ImageCms.ImageCmsProfile(lab).tobytes()
    Image.fromarray(picture).save(tmp_path / "s.png", icc_profile=srgb)
    photo = images.decode_photo(tmp_path / "s.png")
    assert photo.already_clean and np.array_equal(photo.rgb, picture)

    Image.fromarray(picture).save(tmp_path / "l.png", icc_profile=linear_profile(srgb))
    photo = images.decode_photo(tmp_path / "l.png")
    x = picture / 255
    expected = np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055) * 255
    assert np.abs(photo.rgb - expected).max() < 2.0
    assert not photo.already_clean and any("converted to sRGB" in note for note in photo.notes)


def linear_profile(srgb):
    """The same profile with all tone curves replaced by gamma 1 (an empty `curv` tag, ICC.1 10.6)."""
    data = bytearray(srgb)
    for i in range(struct.unpack_from(">I", data, 128)[0]):
        tag, offset, size = struct.unpack_from(">4sII", data, 132 + 12 * i)
        if tag in (b"rTRC", b"gTRC", b"bTRC"):
            data[offset : offset + size] = (b"curv" + bytes(8)).ljust(size, b"\0")
    return bytes(data)


def test_of_several_frames_the_first_is_read(picture, tmp_path):
    first, second = Image.fromarray(picture), Image.fromarray(255 - picture)
    for name, options in {"a.gif": {}, "a.webp": {"lossless": True}, "a.tif": {}, "a.png": {}}.items():
        first.save(tmp_path / name, save_all=True, append_images=[second], **options)
        photo = images.decode_photo(tmp_path / name)
        assert np.abs(photo.rgb.astype(int) - picture).mean() < 16, name  # GIF has 256 colours
        assert "first of 2 frames" in photo.notes and not photo.already_clean


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_orientation_outside_1_to_8_is_told(picture, tmp_path, orientation):
    Image.fromarray(picture).save(tmp_path / "a.png", exif=exif(orientation=orientation))
    photo = images.decode_photo(tmp_path / "a.png")
    assert photo.notes == (f"EXIF orientation {orientation} is none of 1 to 8 and taken as 1",)
    assert photo.orientation == 1


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_where_a_truncated_file_ends_is_told(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / f"a.{suffix}")
    data = (tmp_path / f"a.{suffix}").read_bytes()
    (tmp_path / f"a.{suffix}").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=f"truncated at byte {len(data) // 2} "):
        images.decode_photo(tmp_path / f"a.{suffix}")


def test_flipped_bytes_are_corrupt_data(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for suffix in ("jpg", "png"):
        Image.fromarray(noise).save(tmp_path / f"a.{suffix}")
        data = bytearray((tmp_path / f"a.{suffix}").read_bytes())
        start = len(data) // 2
        data[start : start + 200] = b"\xff\xc8" * 100  # in a JPEG, a marker where none may be
        (tmp_path / f"a.{suffix}").write_bytes(data)
        with pytest.raises(InputError, match="corrupt data"):
            images.decode_photo(tmp_path / f"a.{suffix}")


def test_a_bomb_of_scans_is_refused_before_decoding(tmp_path):
    """A progressive JPEG whose last scan is repeated: each costs a pass over all pixels."""
    Image.new("RGB", (64, 64), (200, 10, 90)).save(tmp_path / "a.jpg", progressive=True)
    data = (tmp_path / "a.jpg").read_bytes()
    assert images.decode_photo(tmp_path / "a.jpg").rgb.shape == (64, 64, 3)
    last = data.rindex(b"\xff\xda")
    (tmp_path / "bomb.jpg").write_bytes(data[:last] + data[last:-2] * 5000 + b"\xff\xd9")
    with pytest.raises(InputError, match="101 or more scans in one JPEG, limit 100"):
        images.decode_photo(tmp_path / "bomb.jpg")


def test_broken_profile_and_exif_are_ignored(picture, tmp_path):
    Image.fromarray(picture).save(tmp_path / "a.png", icc_profile=b"nonsense" * 20)
    photo = images.decode_photo(tmp_path / "a.png")
    assert np.array_equal(photo.rgb, picture) and photo.notes == ("unusable colour profile ignored",)
    Image.fromarray(picture).save(tmp_path / "b.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff broken")
    assert images.decode_photo(tmp_path / "b.jpg").rgb.shape == (16, 24, 3)


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.97])
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_truncated_pictures_are_refused_by_name(tmp_path, suffix, cut):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / f"cut.{suffix}")
    data = (tmp_path / f"cut.{suffix}").read_bytes()
    (tmp_path / f"cut.{suffix}").write_bytes(data[: int(len(data) * cut)])
    with pytest.raises(InputError, match=r"cut\.\w+: .*(truncated|damaged|not an image)"):
        images.decode_photo(tmp_path / f"cut.{suffix}")


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_random_damage_raises_nothing_but_input_errors(tmp_path, suffix):
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 256, (32, 32, 4 if suffix in ("png", "tif") else 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix), exif=exif(make="x"))
    path, refused = tmp_path / f"a.{suffix}", 0
    for _ in range(120):
        data = bytearray(buffer.getvalue())
        for at in rng.integers(0, min(len(data), 600) if rng.random() < 0.5 else len(data), 4):
            data[at] = rng.integers(0, 256)
        path.write_bytes(data)
        try:
            images.decode_photo(path)
        except InputError as error:
            assert path.name in str(error) and "\n" not in str(error)
            refused += 1
    assert refused > 10 or suffix == "tif"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<!DOCTYPE html><html></html>", "text/html"),
        (b"hello there, this is only text", "text"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64), "HEIC"),
        (bytes(range(256)), "unknown content"),
        (b"", "empty"),
    ],
)
def test_what_is_no_picture_is_told_apart(tmp_path, content, reason):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(InputError, match=f"a\\.jpg: .*{reason}"):
        images.decode_photo(tmp_path / "a.jpg")


def test_a_pixel_bomb_is_refused_before_decoding(tmp_path):
    header = struct.pack(">IIBBBBB", 40000, 40000, 8, 2, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(b"\0")) + png_chunk(b"IEND", b"")
    data = b"\x89PNG\r\n\x1a\n" + chunks
    (tmp_path / "bomb.png").write_bytes(data)
    with pytest.raises(InputError, match=r"1600 megapixels, limit 250"):
        images.decode_photo(tmp_path / "bomb.png")
    with pytest.raises(InputError, match=r"1600 megapixels, limit 250"):
        images.image_size(tmp_path / "bomb.png")


def test_float_pictures_are_refused(tmp_path):
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(InputError, match="32-bit pixels"):
        images.decode_photo(tmp_path / "f.tif")


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    reasons = {"pipe": "pipe", "folder": "a folder", "dangling": "leads nowhere", "loop": "opened", "no": "opened"}
    for name, reason in reasons.items():
        with pytest.raises(InputError, match=rf"{name}\.jpg: .*{reason}"):
            images.decode_photo(tmp_path / f"{name}.jpg")
    with pytest.raises(InputError, match="device"):
        images.read_mask(type(tmp_path)("/dev/zero"))


def test_names_that_are_not_utf8_work(picture, tmp_path):
    path = tmp_path / os.fsdecode(b"a\xff b.png")
    images.write_png(path, picture)
    assert np.array_equal(images.read_image(path), picture)


def test_masks_use_alpha_only_where_it_varies(picture, tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    images.write_png(tmp_path / "l.png", grey)
    assert torch.allclose(images.read_mask(tmp_path / "l.png"), torch.tensor(grey) / 255, atol=1e-6)
    opaque = np.stack([grey, grey, grey, np.full_like(grey, 255)], -1)
    images.write_png(tmp_path / "o.png", opaque)
    assert torch.allclose(images.read_mask(tmp_path / "o.png"), torch.tensor(grey) / 255, atol=1e-6)
    varying = np.stack([grey * 0, grey * 0, grey * 0, grey], -1)
    images.write_png(tmp_path / "v.png", varying)
    assert torch.equal(images.read_mask(tmp_path / "v.png"), torch.tensor(grey) / 255)
    Image.fromarray(grey > 100).save(tmp_path / "b.png")
    assert torch.equal(images.read_mask(tmp_path / "b.png") > 0.5, torch.tensor(grey > 100))
    mask = torch.rand(7, 9)
    images.write_mask(tmp_path / "w.png", mask)
    assert (images.read_mask(tmp_path / "w.png") - mask).abs().max() <= 0.5 / 255 + 1e-6


def test_focal_length_and_label_come_from_exif(tmp_path):
    photo = Image.new("RGB", (800, 600))
    photo.save(tmp_path / "a.jpg", exif=exif(make="Synthetic", model="Cam\0era", focal=34.0, f35=34))
    decoded = images.decode_photo(tmp_path / "a.jpg")
    assert decoded.focal_px == pytest.approx(34 / 43.2666 * 1000, rel=1e-4)
    assert decoded.camera_label == "Synthetic Cam era 34mm 800x600"
    photo.save(tmp_path / "b.jpg")
    assert images.decode_photo(tmp_path / "b.jpg").focal_px is None
    assert images.decode_photo(tmp_path / "b.jpg").camera_label == "800x600"


def test_a_failed_write_keeps_the_old_file_and_says_why(tmp_path):
    with pytest.raises(ResourceError, match="cannot be written"):
        write_atomic(tmp_path / "missing" / "a.png", b"x")
    write_atomic(tmp_path / "a.bin", b"old")
    write_atomic(tmp_path / "a.bin", b"new")
    assert (tmp_path / "a.bin").read_bytes() == b"new" and list(tmp_path.iterdir()) == [tmp_path / "a.bin"]
