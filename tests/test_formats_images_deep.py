"""Photos that hold more than 8 bits a channel: what of it reaches the fit, and what matching gets to see."""

import builtins
import io
import zlib

import cv2
import numpy as np
import pillow_heif
import pytest
import torch
from PIL import Image

from pipeline.color import linear_from_srgb
from pipeline.errors import InputError
from pipeline.formats import images
from pipeline.formats.exr import write_exr
from pipeline.formats.images_deep import displayed
from pipeline.formats.resample import resample
from pipeline.formats.views import read_view_image
from pipeline.scene import Camera, View
from tests.raw_file import dng


@pytest.fixture
def deep():
    """Smooth, all 16 bits used, no symmetry; 24 wide and 16 high."""
    y, x = np.mgrid[0:16, 0:24]
    return np.stack([x * 2500 + y, y * 4001 + x, (x + y) * 1601 + 7], -1).astype(np.uint16)


def write_16_bit(path, rgb):
    assert cv2.imwrite(str(path), rgb[..., ::-1])


def view_of(path, width=24, height=16):
    camera = Camera(
        K=torch.tensor([[20.0, 0, width / 2], [0, 20, height / 2], [0, 0, 1]]),
        cam_from_world=torch.eye(4),
        width=width,
        height=height,
    )
    return View(
        name="v",
        image_path=path,
        mask_path=None,
        camera=camera,
        exposure=torch.ones(3),
        light_from_world=torch.eye(4),
    )


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8])
def test_16_bits_are_kept_and_turned_with_the_photo(deep, tmp_path, suffix, orientation):
    write_16_bit(tmp_path / f"a.{suffix}", deep)
    with_orientation(tmp_path / f"a.{suffix}", orientation)
    photo = images.decode_photo(tmp_path / f"a.{suffix}")
    turned = {
        1: deep,
        2: deep[:, ::-1],
        3: deep[::-1, ::-1],
        4: deep[::-1],
        5: deep.swapaxes(0, 1),
        6: deep.swapaxes(0, 1)[:, ::-1],
        7: deep.swapaxes(0, 1)[::-1, ::-1],
        8: deep.swapaxes(0, 1)[::-1],
    }[orientation]
    assert photo.deep is not None and np.array_equal(photo.deep, turned)
    assert np.array_equal(photo.rgb, np.rint(turned / 257))
    assert photo.orientation == orientation and photo.stored_size == (24, 16)


def with_orientation(path, orientation):
    """Write the tag into a PNG (an eXIf chunk before the pixels) or a TIFF (through Pillow, 16 bits untouched)."""
    data = bytearray(path.read_bytes())
    if path.suffix == ".png":
        block = Image.Exif()
        block[0x0112] = orientation
        body = block.tobytes().removeprefix(b"Exif\0\0")
        chunk = b"eXIf" + body
        crc = zlib.crc32(chunk).to_bytes(4, "big")
        data[33:33] = len(body).to_bytes(4, "big") + chunk + crc
    else:
        directory = int.from_bytes(data[4:8], "little")
        count = int.from_bytes(data[directory : directory + 2], "little")
        entries = [bytes(data[directory + 2 + 12 * k : directory + 14 + 12 * k]) for k in range(count)]
        entries = [e for e in entries if e[:2] != b"\x12\x01"]
        entries.append(b"\x12\x01\x03\0\x01\0\0\0" + bytes([orientation, 0, 0, 0]))
        entries.sort(key=lambda e: int.from_bytes(e[:2], "little"))
        data[4:8] = len(data).to_bytes(4, "little")
        data += len(entries).to_bytes(2, "little") + b"".join(entries) + bytes(4)
    path.write_bytes(data)


def test_grey_of_16_bits_is_kept(deep, tmp_path):
    for name in ("g.png", "g.tif"):
        cv2.imwrite(str(tmp_path / name), deep[..., 1])
        photo = images.decode_photo(tmp_path / name)
        assert np.array_equal(photo.deep, np.repeat(deep[..., 1:2], 3, -1))
        assert "grey, no colour" in photo.notes


@pytest.mark.parametrize("space", ["adobe", "linear"])
def test_profiles_are_applied_to_all_16_bits(deep, tmp_path, space):
    """Against the closed form of Adobe RGB (1998): gamma 563/256 and its primaries; and of a linear sRGB."""
    write_16_bit(tmp_path / "plain.png", deep)
    primaries = {
        "adobe": ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)),
        "linear": ((0.64, 0.33), (0.3, 0.6), (0.15, 0.06)),
    }
    gamma = {"adobe": 563 / 256, "linear": 1.0}[space]
    with_profile(tmp_path / "plain.png", profile(primaries[space], gamma))
    photo = images.decode_photo(tmp_path / "plain.png")
    to_srgb = np.linalg.solve(matrix(primaries["linear"]), matrix(primaries[space]))
    linear = np.clip((deep / 65535) ** gamma @ to_srgb.T, 0, 1)
    expected = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055) * 65535
    assert photo.deep is not None and np.abs(photo.deep - expected).max() < 60  # of 65535: the profile's own 16 bits
    assert np.array_equal(photo.rgb, np.rint(photo.deep / 257))
    assert any("converted to sRGB from test" in note for note in photo.notes)


def matrix(primaries):
    """XYZ (D50) of linear RGB whose white is D65, by Bradford's adaptation."""
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in primaries]).T
    d65, d50 = np.array([0.3127 / 0.3290, 1, 0.3583 / 0.3290]), np.array([0.9642, 1, 0.8249])
    scaled = columns * np.linalg.solve(columns, d65)
    cone = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    return np.linalg.inv(cone) @ np.diag((cone @ d50) / (cone @ d65)) @ cone @ scaled


def profile(primaries, gamma):
    """A version 2 display profile of a matrix and one curve."""

    def fixed(values):
        return b"".join(round(v * 65536).to_bytes(4, "big", signed=True) for v in values)

    columns = matrix(primaries).T
    curve = b"curv" + bytes(4) + (1).to_bytes(4, "big") + round(gamma * 256).to_bytes(2, "big") + bytes(2)
    name = b"desc" + bytes(4) + (5).to_bytes(4, "big") + b"test\0" + bytes(79)
    elements = {
        b"desc": name,
        b"wtpt": b"XYZ " + bytes(4) + fixed((0.9642, 1, 0.8249)),
        **{k: b"XYZ " + bytes(4) + fixed(c) for k, c in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True)},
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
        b"cprt": b"text" + bytes(4) + b"none\0" + bytes(3),
    }
    table, body = len(elements).to_bytes(4, "big"), b""
    for key, element in elements.items():
        at = 132 + 12 * len(elements) + len(body)
        table += key + at.to_bytes(4, "big") + len(element).to_bytes(4, "big")
        body += element + bytes(-len(element) % 4)
    head = bytearray(128)
    head[0:4] = (128 + len(table) + len(body)).to_bytes(4, "big")
    head[8:12], head[12:24], head[36:40] = b"\x02\x40\0\0", b"mntrRGB XYZ ", b"acsp"
    head[68:80] = fixed((0.9642, 1, 0.8249))
    return bytes(head) + table + body


def with_profile(path, icc):
    data = bytearray(path.read_bytes())

    chunk = b"iCCP" + b"x\0\0" + zlib.compress(icc)
    data[33:33] = (len(chunk) - 4).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    path.write_bytes(data)


def test_heic_is_decoded_by_content(tmp_path):
    """A HEIC named .jpg, as some programs leave it; EXIF's orientation inside is the container's business."""
    y, x = np.mgrid[0:64, 0:96]
    rgb = np.stack([x * 2, y * 3, 255 - x], -1).astype(np.uint8)
    block = Image.Exif()
    block[0x010F], block[0x0112] = "Phone", 6
    block.get_ifd(0x8769)[0xA405] = 26
    pillow_heif.register_heif_opener()
    Image.fromarray(rgb).save(tmp_path / "a.jpg", format="HEIF", quality=95, exif=block)
    photo = images.decode_photo(tmp_path / "a.jpg")
    assert np.abs(photo.rgb.astype(int) - rgb).mean() < 2 and photo.deep is None
    assert photo.camera_label == "Phone 96x64" and photo.focal_px == pytest.approx(26 / 43.2666 * np.hypot(96, 64))
    assert not photo.already_clean and images.image_size(tmp_path / "a.jpg") == (96, 64)


@pytest.mark.parametrize(("quarters", "orientation"), [(1, 8), (2, 3), (3, 6)])
def test_heic_is_turned_as_its_container_says(tmp_path, quarters, orientation):
    """As phones write them: the turn in the container, and EXIF's orientation repeats it."""
    y, x = np.mgrid[0:64, 0:96]
    rgb = np.stack([x * 2, y * 3, 255 - x], -1).astype(np.uint8)
    block = Image.Exif()
    block[0x0112] = orientation
    buffer = io.BytesIO()
    pillow_heif.register_heif_opener()
    Image.fromarray(rgb).save(buffer, "HEIF", quality=95, exif=block)
    path = tmp_path / "a.heic"
    path.write_bytes(turned_heic(buffer.getvalue(), quarters))
    expected = np.rot90(rgb, quarters)
    assert np.abs(images.decode_photo(path).rgb.astype(int) - expected).mean() < 2
    assert images.image_size(path) == expected.shape[1::-1]


def turned_heic(data, quarters):
    """Add an `irot` property (ISO/IEC 23008-12, 6.5.10; quarter turns anti-clockwise) to the only picture of a file."""
    data = bytearray(data)
    at = {name: data.index(name) for name in (b"meta", b"iloc", b"iprp", b"ipco", b"ipma")}
    end_of_ipma = at[b"ipma"] - 4 + int.from_bytes(data[at[b"ipma"] - 4 : at[b"ipma"]], "big")
    for name, grown in ((b"meta", 10), (b"iprp", 10), (b"ipco", 9), (b"ipma", 1)):
        size = slice(at[name] - 4, at[name])
        data[size] = (int.from_bytes(data[size], "big") + grown).to_bytes(4, "big")
    for item in range(2):  # the picture and its EXIF: their places in the file
        place = slice(at[b"iloc"] + 16 + 18 * item, at[b"iloc"] + 20 + 18 * item)
        data[place] = (int.from_bytes(data[place], "big") + 10).to_bytes(4, "big")
    count = at[b"ipma"] + 14
    properties = data[count]
    data[count] = properties + 1
    data[end_of_ipma:end_of_ipma] = bytes([0x80 | (properties + 1)])
    data[at[b"ipma"] - 4 : at[b"ipma"] - 4] = b"\0\0\0\x09irot" + bytes([quarters])
    return bytes(data)


def test_heic_of_10_bits_is_kept_whole(tmp_path):
    y, x = np.mgrid[0:64, 0:96]
    deep = np.stack([x * 600 + 3000, y * 900 + 2000, 60000 - x * 500], -1).astype(np.uint16)
    pillow_heif.from_bytes(mode="RGB;16", size=(96, 64), data=deep.tobytes()).save(
        tmp_path / "a.heic", quality=-1, chroma=444, matrix_coefficients=0
    )
    photo = images.decode_photo(tmp_path / "a.heic")
    assert (
        photo.deep is not None and np.abs(photo.deep.astype(int) - deep).max() <= 80
    )  # 1.3 levels of 1023, 0.3 of 255


@pytest.mark.parametrize(
    ("library", "name", "content"),
    [
        ("pillow_heif", "heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64)),
        ("rawpy", "raw", b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom" + bytes(64)),
    ],
)
def test_a_missing_library_is_named(tmp_path, monkeypatch, library, name, content):
    original = builtins.__import__

    def without(module, *args, **kwargs):
        if module.split(".")[0] == library:
            raise ImportError(module)
        return original(module, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(InputError, match=rf"pip install recon-pbr\[{name}\]"):
        images.decode_photo(tmp_path / "a.jpg")


def bayer(scene):
    mosaic = scene[..., 1].copy()
    mosaic[0::2, 0::2], mosaic[1::2, 1::2] = scene[0::2, 0::2, 0], scene[1::2, 1::2, 2]
    return np.rint(mosaic * 65535).astype(np.uint16)


@pytest.mark.parametrize(("orientation", "corner"), [(1, (8, 8)), (3, (-8, -8)), (6, (8, -8)), (8, (-8, 8))])
def test_raw_is_developed_linearly_and_turned_once(tmp_path, orientation, corner):
    """Two fields of known radiance: 1e-3 is the 16-bit sRGB code's step, away from demosaicking at the edge."""
    scene = np.full((48, 64, 3), (0.5, 0.25, 0.125))
    scene[:24, :32] = (0.05, 0.1, 0.6)
    path = tmp_path / "renamed.tif"
    path.write_bytes(dng(bayer(scene), orientation=orientation))
    photo, linear = images.decode_photo(path), images.read_linear(path)
    assert np.allclose(linear[corner], (0.05, 0.1, 0.6), atol=1e-3)
    assert np.allclose(linear[-corner[0], -corner[1]], (0.5, 0.25, 0.125), atol=1e-3)
    size = (64, 48) if orientation < 5 else (48, 64)
    assert photo.orientation == orientation and photo.rgb.shape[1::-1] == size == images.image_size(path)
    assert photo.stored_size == (64, 48) and photo.deep.dtype == np.uint16
    assert photo.focal_px == pytest.approx(24 / 43.2666 * 80, rel=1e-4)
    assert photo.camera_label == f"Maker Model 8.8mm {size[0]}x{size[1]}"


def test_raw_takes_the_cameras_white_balance(tmp_path):
    scene = np.full((48, 64, 3), (0.4, 0.4, 0.4))
    (tmp_path / "a.dng").write_bytes(dng(bayer(scene * (0.5, 1, 0.7)), neutral=(0.5, 1, 0.7)))
    assert np.allclose(images.read_linear(tmp_path / "a.dng")[20, 20], 0.4, atol=2e-3)


@pytest.mark.parametrize("suffix", ["exr", "hdr"])
def test_radiance_is_kept_to_the_fit_and_shown_well_exposed(tmp_path, suffix):
    radiance = np.linspace(0.01, 40, 24 * 16 * 3, dtype=np.float32).reshape(16, 24, 3)
    path = tmp_path / f"a.{suffix}"
    if suffix == "exr":
        write_exr(path, {c: torch.from_numpy(radiance[..., k].copy()) for k, c in enumerate("RGB")})
    else:
        images.write_hdr(path, torch.from_numpy(radiance))
    photo = images.decode_photo(path)
    tolerance = 0 if suffix == "exr" else radiance.max() / 128
    assert np.abs(photo.deep - radiance).max() <= tolerance
    assert photo.exposure == 1 / 64 and "-6 EV with" in photo.notes[0]
    seen = linear_from_srgb(torch.from_numpy(photo.rgb / np.float32(255))).numpy()
    assert np.abs(seen - radiance / 64).max() < 0.01
    assert np.array_equal(read_view_image(view_of(path), 24, 16).numpy(), photo.deep)
    assert images.image_size(path) == (24, 16)


def test_alpha_of_an_exr_is_a_mask(tmp_path):
    planes = {c: torch.rand(8, 8) for c in "RGB"} | {"A": torch.linspace(0, 1, 64).reshape(8, 8)}
    write_exr(tmp_path / "a.exr", planes)
    photo = images.decode_photo(tmp_path / "a.exr")
    assert np.array_equal(photo.alpha, np.rint(planes["A"].numpy() * 255))


def test_like_photos_of_one_capture_get_one_exposure():
    rng = np.random.default_rng(0)
    for scale in (1e-4, 1.0, 3e4):
        shots = [torch.tensor(rng.gamma(2, scale, (64, 64, 3)).astype(np.float32)) for _ in range(6)]
        factors = {displayed(shot)[1] for shot in shots}
        assert len(factors) == 1
        assert all(displayed(shot)[2] < 0.06 for shot in shots)
    black = displayed(torch.zeros(4, 4, 3))
    assert black[1] == 1 and black[0].max() == 0


def test_linear_reading_of_8_and_16_bits_agrees(deep, tmp_path):
    write_16_bit(tmp_path / "d.png", deep)
    images.write_png(tmp_path / "s.png", np.rint(deep / 257).astype(np.uint8))
    fine, coarse = (read_view_image(view_of(tmp_path / name), 24, 16) for name in ("d.png", "s.png"))
    assert (fine - coarse).abs().max() < 0.5 / 255 * 2.4 + 1e-4  # half a level times the curve's slope at white
    assert not torch.equal(fine, coarse)
    exact = linear_from_srgb(torch.from_numpy(deep.astype(np.float64) / 65535)).float()
    assert (fine - exact).abs().max() < 1e-5


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_undistorted_deep_pictures_keep_their_kind(deep, tmp_path, dtype):
    """What undistortion does: read, resample, write, read; half a pixel's shift of a ramp is a half step."""
    pixels = deep if dtype is np.uint16 else deep.astype(np.float32) / 1000
    written = images.write_deep(tmp_path / "v.1", pixels)
    assert written.suffix == {np.uint16: ".png", np.float32: ".exr"}[dtype] and written.stem == "v.1"
    back = images.read_deep(written)
    assert back.dtype == dtype and np.array_equal(back, pixels)
    x, y = np.meshgrid(np.arange(2, 20) + 1.0, np.arange(2, 14) + 0.5)
    moved = resample(back, np.stack([x, y], -1))
    expected = (pixels[2:14, 2:20].astype(float) + pixels[2:14, 3:21]) / 2
    assert moved.dtype == dtype and np.allclose(moved, expected, rtol=1e-3, atol=1)


@pytest.mark.parametrize("kind", ["exr", "hdr", "dng", "heic", "deep.png", "deep.tif", "gif", "avif"])
def test_random_damage_raises_nothing_but_input_errors(deep, tmp_path, kind):
    rng = np.random.default_rng(3)
    path = tmp_path / f"a.{kind}"
    path.write_bytes(sound_file(kind, deep, tmp_path))
    whole, refused = path.read_bytes(), 0
    for trial in range(60):
        data = bytearray(whole)
        for at in rng.integers(0, min(len(data), 600) if trial % 2 else len(data), 4):
            data[at] = rng.integers(0, 256)
        path.write_bytes(data[: rng.integers(1, len(data))] if trial % 5 == 0 else data)
        try:
            images.decode_photo(path)
            images.image_size(path)
        except InputError as error:
            assert path.name in str(error) and "\n" not in str(error)
            refused += 1
    assert refused >= 5


def sound_file(kind, deep, folder):
    buffer = io.BytesIO()
    if kind == "exr":
        return images.write_deep(folder / "sound", deep.astype(np.float32)).read_bytes()
    if kind == "hdr":
        images.write_hdr(folder / "sound.hdr", torch.from_numpy(deep.astype(np.float32)))
        return (folder / "sound.hdr").read_bytes()
    if kind == "dng":
        return dng(np.kron(deep[..., 0], np.ones((2, 2), np.uint16)))
    if kind.startswith("deep."):
        write_16_bit(folder / f"sound.{kind[5:]}", deep)
        return (folder / f"sound.{kind[5:]}").read_bytes()
    pillow_heif.register_heif_opener()
    Image.fromarray((deep >> 8).astype(np.uint8)).save(buffer, {"heic": "HEIF"}.get(kind, kind))
    return buffer.getvalue()
