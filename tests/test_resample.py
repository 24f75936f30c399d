"""Resampling keeps pixels where corner-based coordinates say they are."""

import numpy as np
import pytest
from scipy import ndimage

from pipeline.formats.resample import resample, resize


def grid(width: int, height: int) -> np.ndarray:
    """The centre of every pixel."""
    return np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), -1)


def smooth(*shape: int) -> np.ndarray:
    """A smooth 8-bit picture."""
    noise = np.random.default_rng(0).random(shape)
    blurred = ndimage.gaussian_filter(noise, (4, 4) + (0,) * (len(shape) - 2))
    return ((blurred - blurred.min()) / np.ptp(blurred) * 255).astype(np.uint8)


@pytest.mark.parametrize("shape", [(30, 40), (30, 40, 3)])
def test_looking_up_the_pixels_themselves_changes_nothing(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    np.testing.assert_array_equal(resample(image, grid(40, 30)), image)


def test_whole_steps_shift_and_the_edge_repeats() -> None:
    image = np.random.default_rng(0).integers(0, 256, (30, 40), np.uint8)
    moved = resample(image, grid(40, 30) + np.array([3, -2]))
    np.testing.assert_array_equal(moved[2:, :-3], image[:-2, 3:])
    np.testing.assert_array_equal(moved[:2, :-3], np.broadcast_to(image[0, 3:], (2, 37)))


def test_fractions_agree_with_scipys_spline() -> None:
    image = smooth(60, 80)
    pixels = grid(80, 60) + np.array([0.3, -0.6])
    x, y = pixels[..., 0], pixels[..., 1]
    expected = ndimage.map_coordinates(image.astype(float), [y - 0.5, x - 0.5], order=3, mode="nearest")
    # another cubic kernel: equal on a smooth picture to the rounding of 8 bits and a little more
    np.testing.assert_allclose(resample(image, pixels)[3:-3, 3:-3], expected[3:-3, 3:-3], atol=1.5)


@pytest.mark.parametrize("shape", [(60, 80), (60, 80, 3), (60, 80, 1)])
def test_shrinking_averages_over_areas(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).random(shape).astype(np.float32)
    expected = image.reshape(30, 2, 40, 2, -1).mean((1, 3))
    np.testing.assert_allclose(resize(image, 40, 30).reshape(30, 40, -1), expected, atol=1e-6)


@pytest.mark.parametrize("size", [(160, 120), (100, 90), (40, 120), (80, 60)])
def test_a_ramp_stays_where_it_is(size: tuple[int, int]) -> None:
    image = np.repeat(np.arange(80, dtype=np.float32)[None] + 0.5, 60, 0)
    expected = (np.arange(size[0]) + 0.5) * 80 / size[0]
    inner = slice(4, -4)
    np.testing.assert_allclose(
        resize(image, *size)[:, inner], np.broadcast_to(expected, size[::-1])[:, inner], atol=0.3
    )
