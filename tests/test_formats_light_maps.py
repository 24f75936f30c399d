"""Light maps in OpenEXR and Radiance files: what other programs write is read or refused by name."""

import numpy as np
import OpenEXR
import pytest
import torch

from pipeline.errors import InputError
from pipeline.formats.exr import read_exr, write_exr
from pipeline.formats.light_maps import read_light
from pipeline.formats.radiance import write_hdr

FLAT = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}


@pytest.fixture
def pixels():
    return np.random.default_rng(0).gamma(0.5, 2, (8, 16, 3)).astype(np.float32)


def written(path, channels, **header):
    OpenEXR.File({**FLAT, **header}, channels).write(str(path))
    return path


def planes(pixels, names="RGB"):
    return {name: np.ascontiguousarray(pixels[..., k]) for k, name in enumerate(names)}


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"compression": OpenEXR.PIZ_COMPRESSION},
        {"compression": OpenEXR.NO_COMPRESSION, "lineOrder": OpenEXR.DECREASING_Y},
        {"type": OpenEXR.tiledimage, "tiles": OpenEXR.TileDescription()},
    ],
    ids=["zip", "piz", "from below", "tiles"],
)
def test_linear_floats_are_read_as_they_are(pixels, header, tmp_path):
    assert np.array_equal(read_exr(written(tmp_path / "a.exr", planes(pixels), **header)).numpy(), pixels)


def test_halves_alpha_and_grey_are_read(pixels, tmp_path):
    half = np.concatenate([pixels, np.zeros((8, 16, 1), np.float32)], 2).astype(np.float16)
    read = read_exr(written(tmp_path / "half.exr", {"RGBA": half}))
    assert np.array_equal(read.numpy(), half[..., :3].astype(np.float32))
    grey = read_exr(written(tmp_path / "grey.exr", planes(pixels, "Y")))
    assert np.array_equal(grey.numpy(), pixels[..., :1].repeat(3, 2))


def test_what_is_written_reads_back(pixels, tmp_path):
    write_exr(tmp_path / "a.exr", {c: torch.from_numpy(p) for c, p in planes(pixels).items()})
    assert np.array_equal(read_exr(tmp_path / "a.exr").numpy(), pixels)


def test_negative_radiance_is_cut_and_what_is_no_number_refused(pixels, tmp_path):
    pixels[2, 3] = -0.5
    assert read_exr(written(tmp_path / "a.exr", planes(pixels))).numpy()[2, 3].tolist() == [0, 0, 0]
    for value in (np.nan, np.inf):
        pixels[5, 6, 1] = value
        with pytest.raises(InputError, match=r"b\.exr: 1 of 128 pixels"):
            read_exr(written(tmp_path / "b.exr", planes(pixels)))


def test_other_kinds_of_pictures_are_refused(pixels, tmp_path):
    def refused(told):
        with pytest.raises(InputError, match=rf"a\.exr: .*{told}"):
            read_exr(tmp_path / "a.exr")

    for names in ("XYZ", "RGA"):
        written(tmp_path / "a.exr", planes(pixels, names))
        refused("holds the channels")
    written(tmp_path / "a.exr", {"diffuse.R": pixels[..., 0].copy()})
    refused("channels diffuse.R .*R, G and B")
    parts = [OpenEXR.Part({"name": name}, planes(pixels)) for name in ("a", "b")]
    OpenEXR.File(parts).write(str(tmp_path / "a.exr"))
    refused("holds 2 parts")
    window = (np.array([0, 0], np.int32), np.array([31, 15], np.int32))
    written(tmp_path / "a.exr", planes(pixels), displayWindow=window)
    refused("is cropped")


def test_damage_is_refused_without_a_word_from_the_library(pixels, tmp_path, capfd):
    data = written(tmp_path / "a.exr", planes(pixels)).read_bytes()
    for damaged in (data[:50], data[:-200], data[:8] + b"\xff" * 50 + data[58:], b"picture"):
        (tmp_path / "a.exr").write_bytes(damaged)
        with pytest.raises(InputError, match=r"a\.exr: .*damaged"):
            read_exr(tmp_path / "a.exr")
    assert capfd.readouterr() == ("", "")


def test_the_suffix_chooses_the_reader(pixels, tmp_path):
    written(tmp_path / "a.EXR", planes(pixels))
    write_hdr(tmp_path / "a.hdr", torch.from_numpy(pixels))
    assert np.array_equal(read_light(tmp_path / "a.EXR").numpy(), pixels)
    torch.testing.assert_close(read_light(tmp_path / "a.hdr"), torch.from_numpy(pixels), atol=0.05, rtol=0)
    for name, told in (("a.png", "its suffix .png"), ("a", "it has no suffix")):
        with pytest.raises(InputError, match=told):
            read_light(tmp_path / name)


def test_a_map_that_is_not_two_to_one_is_refused(pixels, tmp_path):
    write_hdr(tmp_path / "a.hdr", torch.from_numpy(pixels[:, :15]))
    with pytest.raises(InputError, match=r"15 x 8 pixels have the ratio 1.88:1, a light map 2:1"):
        read_light(tmp_path / "a.hdr")
