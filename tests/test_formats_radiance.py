"""Radiance pictures: what we write is what other readers see, and what they write is what we read."""

import cv2
import numpy as np
import pytest
import torch

from pipeline.errors import InputError
from pipeline.formats.images import read_hdr, write_hdr


@pytest.fixture
def light():
    rng = torch.Generator().manual_seed(0)
    values = torch.exp(4 * torch.randn(16, 40, 3, generator=rng))
    values[0, :4] = 0
    values[1, 0] = torch.tensor([1.0, 1.0, 1.0])
    values[2, 0] = torch.tensor([0.0, 65504.0, 1e-3])
    values[3, 0] = torch.tensor([0.9999, 0.5, 0.25])
    return values


def relative_error(read, written):
    return float(((read - written).abs() / written.amax(-1, keepdim=True).clamp_min(1e-30)).max())


def test_round_trip_within_half_a_mantissa_step(light, tmp_path):
    write_hdr(tmp_path / "a.hdr", light)
    assert relative_error(read_hdr(tmp_path / "a.hdr"), light) <= 0.5 / 128
    assert torch.equal(read_hdr(tmp_path / "a.hdr")[0, :4], torch.zeros(4, 3))
    write_hdr(tmp_path / "b.hdr", read_hdr(tmp_path / "a.hdr"))
    assert (tmp_path / "a.hdr").read_bytes() == (tmp_path / "b.hdr").read_bytes()


def test_opencv_reads_what_we_write(light, tmp_path):
    write_hdr(tmp_path / "a.hdr", light)
    read = cv2.imread(str(tmp_path / "a.hdr"), cv2.IMREAD_UNCHANGED)[..., ::-1]
    assert relative_error(torch.tensor(read.copy()), light) <= 0.5 / 128 + 1e-6


@pytest.mark.parametrize("width", [5, 8, 40, 300])
def test_we_read_what_opencv_writes(tmp_path, width):
    """OpenCV codes lines of 8 to 32767 pixels by run lengths; constant and noisy lines take both kinds of runs."""
    rng = np.random.default_rng(0)
    light = rng.gamma(0.5, 2, (12, width, 3)).astype(np.float32)
    light[3:7] = 0.5
    cv2.imwrite(str(tmp_path / "a.hdr"), light[..., ::-1])
    assert relative_error(read_hdr(tmp_path / "a.hdr"), torch.tensor(light)) <= 1 / 128


def test_damage_is_refused(tmp_path):
    light = np.random.default_rng(0).gamma(0.5, 2, (12, 40, 3)).astype(np.float32)
    cv2.imwrite(str(tmp_path / "a.hdr"), light)
    data = (tmp_path / "a.hdr").read_bytes()
    for damaged in (data[:40], data[:-7], data[:90] + b"\0" * 300 + data[390:], b"#?RADIANCE\n\n-Y 99999 +X 99999\n"):
        (tmp_path / "b.hdr").write_bytes(damaged)
        with pytest.raises(InputError, match=r"b\.hdr"):
            read_hdr(tmp_path / "b.hdr")


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_impossible_radiance_is_refused(tmp_path, value):
    with pytest.raises(InputError, match="radiance"):
        write_hdr(tmp_path / "a.hdr", torch.full((2, 2, 3), value))
