"""Real orthonormal spherical harmonics of any degree, index l(l + 1) + m.

Associated Legendre recurrences without the Condon-Shortley phase's sign in the azimuth (Sloan 2008,
"Stupid Spherical Harmonics Tricks"). Polar axis +Y, azimuth from +Z towards +X, so that bands rotate about up.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def sh_basis(direction: Float[Tensor, "*batch 3"], degree: int) -> Float[Tensor, "*batch basis"]:
    """Evaluate bands 0..`degree` in unit world directions: (degree + 1)^2 values each."""
    across, polar, along = direction.unbind(-1)
    legendre = _legendre(polar, degree)
    cos, sin = [torch.ones_like(polar)], [torch.zeros_like(polar)]
    for _ in range(degree):
        cos_next = cos[-1] * along - sin[-1] * across
        sin.append(sin[-1] * along + cos[-1] * across)
        cos.append(cos_next)
    values = []
    for band in range(degree + 1):
        for m in range(-band, band + 1):
            a = abs(m)
            norm = math.sqrt((2 * band + 1) / (4 * math.pi) * math.factorial(band - a) / math.factorial(band + a))
            if m == 0:
                values.append(norm * legendre[band, 0])
            else:
                azimuth = cos[a] if m > 0 else sin[a]
                values.append(math.sqrt(2) * norm * legendre[band, a] * azimuth)
    return torch.stack(values, -1)


def _legendre(x: Float[Tensor, "*batch"], degree: int) -> dict[tuple[int, int], Float[Tensor, "*batch"]]:
    """P_lm(x) / (1 - x^2)^(m / 2), without the Condon-Shortley phase."""
    p = {(0, 0): torch.ones_like(x)}
    for m in range(degree + 1):
        if m > 0:
            p[m, m] = p[m - 1, m - 1] * (2 * m - 1)
        if m < degree:
            p[m + 1, m] = x * (2 * m + 1) * p[m, m]
        for band in range(m + 2, degree + 1):
            p[band, m] = ((2 * band - 1) * x * p[band - 1, m] - (band + m - 1) * p[band - 2, m]) / (band - m)
    return p


def degree_of(coefficients: Float[Tensor, "basis 3"]) -> int:
    """The degree that a set of (degree + 1)^2 coefficients belongs to."""
    return math.isqrt(len(coefficients)) - 1


def zonal_factors(kernel: Float[Tensor, "samples"], cosine: Float[Tensor, "samples"], degree: int) -> list[float]:
    """How a lobe around the polar axis scales each band when it is convolved with a light (Funk-Hecke).

    Args:
        kernel: The lobe's value at each cosine, any scale; it is normalised to keep constant light.
        cosine: Cosines of the angle to the axis, evenly spaced over [-1, 1].
        degree: The highest band.
    """
    legendre = _legendre(cosine, degree)
    total = float(kernel.sum())
    return [float((kernel * legendre[band, 0]).sum()) / total for band in range(degree + 1)]
