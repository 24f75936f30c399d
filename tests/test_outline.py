"""Distances to the outline of a mask."""

import numpy as np
import pytest

from pipeline.geometry.outline import FAR_PX, mask_distance


def coverage(inside, size=96, samples=8):
    """Antialiased mask of `inside(x, y)`, in corner-based pixels."""
    at = (np.arange(size * samples) + 0.5) / samples
    return inside(*np.meshgrid(at, at)).reshape(size, samples, size, samples).mean((1, 3)).astype(np.float32)


def centres(size=96):
    return np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5)


@pytest.mark.parametrize("radius", [5.0, 12.3, 20.7, 40.0])
def test_distance_to_a_disc(radius):
    middle = np.array([47.3, 49.1])
    distance = mask_distance(coverage(lambda x, y: np.hypot(x - middle[0], y - middle[1]) < radius))
    x, y = centres()
    error = distance - (np.hypot(x - middle[0], y - middle[1]) - radius)
    # Interpolating the coverage of a sharp edge is off by up to 0.09 px, and the samples of coverage by some more;
    # measured -0.135 .. 0.132, on average 0.04.
    assert -0.15 < error.min() < 0 < error.max() < 0.15
    assert abs(error.mean()) < 0.05


def test_a_straight_outline_between_pixel_centres_moves_with_its_coverage():
    x, _ = centres()
    for edge in np.arange(40, 41, 0.125):
        error = mask_distance(coverage(lambda u, _, edge=edge: u < edge)) - (x - edge)
        assert np.abs(error).max() < 0.09  # (1/4) / (3/4) instead of 1/4: 0.083 px


def test_a_soft_outline_lies_where_coverage_is_one_half():
    x, _ = centres()
    ramp = np.clip(0.5 - (x - 41.3) / 12, 0, 1).astype(np.float32)
    np.testing.assert_allclose(mask_distance(ramp), x - 41.3, atol=1e-4)


def test_a_hard_mask_puts_the_outline_half_way():
    x, y = centres()
    hard = ((x < 30) & (y > 50)).astype(np.float32)
    distance = mask_distance(hard)
    assert distance[70, 29] == pytest.approx(-0.5)
    assert distance[70, 33] == pytest.approx(3.5)
    assert distance[50, 10] == pytest.approx(-0.5)


def test_every_pixel_knows_its_nearest_piece():
    """Against all outline points by brute force: many blobs, so that wave fronts meet."""
    generator = np.random.default_rng(0)
    blobs = generator.uniform(8, 88, (12, 2))
    mask = coverage(lambda x, y: np.min([np.hypot(x - a, y - b) for a, b in blobs], 0) < 5, samples=2)
    distance = mask_distance(mask)
    x, y = centres()
    exact = np.min([np.hypot(x - a, y - b) for a, b in blobs], 0) - 5
    far = exact > 0.5
    assert np.abs(distance - exact)[far].max() < 0.25  # 4 samples a pixel: coverage is off by up to 1/8 more


def test_without_an_outline_everything_is_far():
    assert (mask_distance(np.ones((5, 7), np.float32)) == -FAR_PX).all()
    assert (mask_distance(np.zeros((5, 7), np.float32)) == FAR_PX).all()
