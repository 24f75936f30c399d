"""Figures of merit of noisy pictures, and of maps.

A path tracer's noise would count as error. So every view is traced twice, with independent noise, and one factor of
each square is taken from either picture: the mean of (a - t)(b - t) is the squared error without the noise.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.ndimage import gaussian_filter
from torch import Tensor

from pipeline.color import linear_from_srgb, srgb_from_linear
from pipeline.metrics import psnr

_SATURATED = 0.999  # sRGB of a true pixel that says no more than "bright"
_BRIGHTEST = 1.5  # linear; a highlight must not outweigh all else in a factor
_C1, _C2 = 0.01**2, 0.03**2


@dataclass(frozen=True, eq=False, kw_only=True)
class Traced:
    """One view by the path tracer: two pictures with independent noise, linear RGB multiplied by alpha, and alpha."""

    first: Float[Tensor, "height width 4"]
    second: Float[Tensor, "height width 4"]

    def scaled(self, factors: Float[Tensor, "3"]) -> "Traced":
        """The same with each channel multiplied."""
        by = torch.cat([factors.float(), torch.ones(1)])
        return Traced(first=self.first * by, second=self.second * by)

    @property
    def mean(self) -> Float[Tensor, "height width 4"]:
        """Both pictures together, for people."""
        return (self.first + self.second) / 2


@dataclass(frozen=True, kw_only=True)
class ViewFigures:
    """How one picture compares with the true one, in sRGB over white.

    Attributes:
        psnr_db: Inside the true mask.
        psnr_whole_db: Over the whole picture.
        ssim: Mean over the whole picture.
    """

    psnr_db: float
    psnr_whole_db: float
    ssim: float


def over_white(picture: Float[Tensor, "height width 4"]) -> Float[Tensor, "height width 3"]:
    """A traced picture over white in sRGB, mixed in sRGB as viewers of PNG files do."""
    alpha = picture[..., 3:].clamp(0, 1)
    straight = torch.where(alpha > 1e-4, picture[..., :3] / alpha.clamp_min(1e-4), 0)
    return srgb_from_linear(straight) * alpha + 1 - alpha


def true_over_white(pixels: Float[Tensor, "height width 4"]) -> Float[Tensor, "height width 3"]:
    """The same of a true picture, sRGB with straight alpha."""
    return pixels[..., :3] * pixels[..., 3:] + 1 - pixels[..., 3:]


def compare(traced: Traced, pixels: Float[Tensor, "height width 4"], mask: Bool[Tensor, "height width"]) -> ViewFigures:
    """Compare a traced view with the true picture; `mask` says where the object is."""
    first, second, true = over_white(traced.first), over_white(traced.second), true_over_white(pixels)
    product = (first - true) * (second - true)
    return ViewFigures(
        psnr_db=_decibel(float(product[mask].mean())),
        psnr_whole_db=_decibel(float(product.mean())),
        ssim=ssim(first, second, true),
    )


def _decibel(squared_error: float) -> float:
    return -10 * math.log10(max(squared_error, 1e-12))


def ssim(
    first: Float[Tensor, "height width 3"],
    second: Float[Tensor, "height width 3"],
    true: Float[Tensor, "height width 3"],
) -> float:
    """Structural similarity (Wang et al. 2004), Gaussian window of 1.5 px, mean over pixels and channels.

    Args:
        first: A picture.
        second: The same picture with other noise, or the same again.
        true: What they should be.
    """

    def blurred(values: Tensor) -> np.ndarray:
        return gaussian_filter(values.numpy(), (1.5, 1.5, 0), truncate=3.5)

    first, second, true = first.double(), second.double(), true.double()
    mean, true_mean = blurred((first + second) / 2), blurred(true)
    mean_squared = blurred(first) * blurred(second)
    variance = blurred(first * second) - mean_squared
    true_variance = blurred(true * true) - true_mean**2
    covariance = blurred((first + second) / 2 * true) - mean * true_mean
    structure = (2 * covariance + _C2) / (np.maximum(variance, 0) + true_variance + _C2)
    return float(np.mean((2 * mean * true_mean + _C1) / (mean_squared + true_mean**2 + _C1) * structure))


def light_factors(views: Sequence[tuple[Traced, Float[Tensor, "height width 4"]]]) -> Float[Tensor, "3"]:
    """The linear factor per channel that brings traced pictures of one light nearest to the true ones.

    By least squares over pixels in both masks that are not saturated in the true picture.
    """
    upper, lower = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    for traced, pixels in views:
        inside = (pixels[..., 3] > 0.5) & (pixels[..., :3].amax(-1) < _SATURATED)
        inside &= (traced.first[..., 3] > 0.5) & (traced.second[..., 3] > 0.5)
        first, second = (_straight(picture)[inside].double() for picture in (traced.first, traced.second))
        true = linear_from_srgb(pixels[..., :3])[inside].double()
        upper += ((first + second) / 2 * true).sum(0)
        lower += (first * second).sum(0)
    return (upper / lower.clamp_min(1e-9)).float()


def _straight(picture: Float[Tensor, "height width 4"]) -> Float[Tensor, "height width 3"]:
    return (picture[..., :3] / picture[..., 3:].clamp_min(1e-3)).clamp_max(_BRIGHTEST)


@dataclass(frozen=True, kw_only=True)
class ColorFigures:
    """How base colours compare, in sRGB inside the true masks of all views together.

    Attributes:
        psnr_db: As they are.
        psnr_scaled_db: After one linear factor per channel.
        factors: These factors; far from 1 means a wrong absolute brightness.
    """

    psnr_db: float
    psnr_scaled_db: float
    factors: tuple[float, float, float]


def compare_colors(ours: Float[Tensor, "pixels 3"], true: Float[Tensor, "pixels 3"]) -> ColorFigures:
    """Compare linear base colours of pixels; black where the asset is missing."""
    factors = (ours * true).sum(0) / ours.square().sum(0).clamp_min(1e-9)
    red, green, blue = factors.tolist()
    return ColorFigures(
        psnr_db=psnr(srgb_from_linear(ours), srgb_from_linear(true)),
        psnr_scaled_db=psnr(srgb_from_linear(ours * factors), srgb_from_linear(true)),
        factors=(red, green, blue),
    )


def angles_deg(ours: Float[Tensor, "pixels 3"], true: Float[Tensor, "pixels 3"]) -> Float[Tensor, "pixels"]:
    """Angles between unit vectors in degrees, exact near zero too."""
    across = torch.linalg.cross(ours.double(), true.double()).norm(dim=-1)
    return torch.rad2deg(torch.atan2(across, (ours.double() * true.double()).sum(-1))).float()
