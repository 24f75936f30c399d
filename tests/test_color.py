"""Transfer curves against the standard's numbers and against Mitsuba's."""

import mitsuba
import numpy as np
import pytest
import torch

from pipeline.color import LUMINANCE_REC709, linear_from_srgb, luminance, srgb_from_linear


@pytest.mark.parametrize(
    ("linear", "srgb"),
    [
        (0.0, 0.0),
        (0.0031308, 0.04045),  # where the line meets the curve, as IEC 61966-2-1 rounds it
        (0.18, 0.461356),  # middle grey
        (0.5, 0.735357),
        (0.215861, 128 / 255),
        (1.0, 1.0),
    ],
)
def test_known_values(linear: float, srgb: float) -> None:
    assert float(srgb_from_linear(torch.tensor(linear))) == pytest.approx(srgb, abs=1e-6)
    assert float(linear_from_srgb(torch.tensor(srgb))) == pytest.approx(linear, abs=1e-6)


def test_curve_agrees_with_mitsuba() -> None:
    mitsuba.set_variant("scalar_rgb")
    linear = np.linspace(0, 1, 3 * 64, dtype=np.float32).reshape(1, 64, 3)
    bitmap = mitsuba.Bitmap(linear, pixel_format=mitsuba.Bitmap.PixelFormat.RGB)
    theirs = np.array(bitmap.convert(component_format=mitsuba.Struct.Type.Float32, srgb_gamma=True))
    ours = srgb_from_linear(torch.from_numpy(linear)).numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-6)  # float32


def test_every_byte_survives_the_round_trip() -> None:
    srgb = torch.arange(256) / 255
    back = srgb_from_linear(linear_from_srgb(srgb))
    assert torch.equal((back * 255).round(), torch.arange(256.0))
    torch.testing.assert_close(back, srgb, atol=1e-6, rtol=0)


def test_linear_survives_the_round_trip() -> None:
    linear = torch.linspace(0, 1, 1001, dtype=torch.float64)
    # The standard rounds the line's slope and the two thresholds, so the pieces miss each other by 3e-8.
    torch.testing.assert_close(linear_from_srgb(srgb_from_linear(linear)), linear, atol=1e-7, rtol=0)


def test_curves_are_monotonic_and_clamp() -> None:
    x = torch.linspace(-0.5, 1.5, 2001, dtype=torch.float64)
    for curve in (srgb_from_linear, linear_from_srgb):
        y = curve(x)
        assert bool((y.diff() >= 0).all())
        assert float(y[0]) == 0.0
        assert float(y[-1]) == pytest.approx(1.0, abs=1e-12)


def test_gradients_are_finite_and_right() -> None:
    x = torch.tensor([1e-6, 0.001, 0.01, 0.2, 0.9], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(srgb_from_linear, x, eps=1e-8)
    assert torch.autograd.gradcheck(linear_from_srgb, x, eps=1e-8)
    black = torch.zeros(3, requires_grad=True)
    srgb_from_linear(black).sum().backward()
    assert black.grad is not None
    torch.testing.assert_close(black.grad, torch.full((3,), 12.92))  # of the line; the unused curve adds no nan


def test_luminance_of_primaries_and_white() -> None:
    torch.testing.assert_close(luminance(torch.eye(3)), torch.tensor(LUMINANCE_REC709))
    assert float(luminance(torch.ones(2, 5, 3))[1, 4]) == pytest.approx(1.0, abs=1e-6)
