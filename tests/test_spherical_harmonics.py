"""The spherical harmonics against SciPy and closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy.special import sph_harm_y
from torch.nn.functional import normalize

from pipeline.shading.spherical_harmonics import degree_of, sh_basis, zonal_factors

DEGREE = 6
BANDS = [(band, m) for band in range(DEGREE + 1) for m in range(-band, band + 1)]


def quadrature():
    """Directions and weights that integrate bands up to 2 DEGREE exactly: Gauss in height, even steps around."""
    height, weight = np.polynomial.legendre.leggauss(DEGREE + 1)
    turn = 2 * math.pi * np.arange(2 * DEGREE + 1) / (2 * DEGREE + 1)
    across = np.sqrt(1 - height**2)[:, None]
    direction = np.stack([across * np.sin(turn), np.broadcast_to(height[:, None], (7, 13)), across * np.cos(turn)], -1)
    weights = np.repeat(weight[:, None], 13, 1) * 2 * math.pi / 13
    return torch.from_numpy(direction.reshape(-1, 3)), torch.from_numpy(weights.reshape(-1))


def test_the_basis_is_scipys_without_the_condon_shortley_sign():
    """Polar angle from +Y, azimuth from +Z towards +X; m < 0 takes the sine, and (-1)^m undoes SciPy's sign."""
    direction = normalize(torch.randn(100, 3, dtype=torch.float64), dim=-1)
    x, y, z = direction.numpy().T
    expected = []
    for band, m in BANDS:
        value = sph_harm_y(band, abs(m), np.arccos(y), np.arctan2(x, z)) * (-1.0) ** m
        expected.append(value.real if m == 0 else math.sqrt(2) * (value.real if m > 0 else value.imag))
    np.testing.assert_allclose(sh_basis(direction, DEGREE).numpy(), np.stack(expected, -1), atol=1e-12)


def test_the_first_band_is_y_x_z_by_name():
    """m = -1, 0, 1 of band 1 are proportional to x, y (up) and z."""
    axes = sh_basis(torch.eye(3, dtype=torch.float64), 1)[:, 1:]
    torch.testing.assert_close(axes, math.sqrt(3 / (4 * math.pi)) * torch.eye(3, dtype=torch.float64))


def test_the_basis_is_orthonormal():
    direction, weights = quadrature()
    basis = sh_basis(direction, DEGREE)
    gram = basis.mT @ (basis * weights[:, None])
    torch.testing.assert_close(gram, torch.eye(len(BANDS), dtype=torch.float64), atol=1e-12, rtol=0)


def test_the_cosine_lobe_scales_the_bands_by_known_factors():
    """Ramamoorthi and Hanrahan (2001): pi, 2 pi / 3, pi / 4, 0, -pi / 24, here over pi."""
    cosine = torch.linspace(-1, 1, 20_001, dtype=torch.float64)
    assert zonal_factors(cosine.clamp_min(0), cosine, 4) == pytest.approx([1, 2 / 3, 1 / 4, 0, -1 / 24], abs=2e-4)


def test_convolving_by_factors_is_convolving():
    """Funk and Hecke: a light of few bands blurred by a lobe, against the integral over the sphere."""
    lobe = lambda cosine: torch.exp(4 * (cosine - 1))  # noqa: E731
    direction = quadrature()[0][::4]
    coefficients = torch.randn(len(BANDS), dtype=torch.float64)
    cosine = torch.linspace(-1, 1, 20_001, dtype=torch.float64)
    factors = torch.tensor(zonal_factors(lobe(cosine), cosine, DEGREE), dtype=torch.float64)
    blurred = sh_basis(direction, DEGREE) @ (coefficients * factors[[band for band, _ in BANDS]])
    samples = normalize(torch.randn(100_000, 3, dtype=torch.float64), dim=-1)
    weight = lobe(direction @ samples.mT)
    expected = (weight @ (sh_basis(samples, DEGREE) @ coefficients)) / weight.sum(1)
    # 1e5 random directions, a tenth of them under the lobe: 1 / sqrt(1e4) of a light of about 1.4, three times.
    assert (blurred - expected).abs().max() < 0.05


def test_degree_follows_from_the_number_of_coefficients():
    assert [degree_of(torch.zeros((d + 1) ** 2, 3)) for d in range(5)] == [0, 1, 2, 3, 4]
