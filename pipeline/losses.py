"""Losses and priors of the fit."""

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.color import log_srgb_from_linear, perceptual_from_linear

SATURATED = 0.96  # linear; about 251 of 255 in sRGB


def photometric_loss(predicted: Float[Tensor, "pixels 3"], target: Float[Tensor, "pixels 3"]) -> Float[Tensor, ""]:
    """Mean absolute difference after a gamma of 1/2.2; a saturated target only asks for at least its brightness.

    Args:
        predicted: Linear radiance.
        target: Linear photo values in [0, 1].
    """
    difference = perceptual_from_linear(predicted) - perceptual_from_linear(target)
    difference = torch.where((target >= SATURATED) & (difference > 0), 0.0, difference)
    return difference.abs().mean()


def log_srgb_difference(
    predicted: Float[Tensor, "pixels 3"], target: Float[Tensor, "pixels 3"]
) -> Float[Tensor, "pixels"]:
    """Absolute difference, averaged over the channels, of log(1 + x) after the sRGB curve (nvdiffrec's "logl1").

    Args:
        predicted: Linear radiance.
        target: Linear photo values.
    """
    return (log_srgb_from_linear(predicted) - log_srgb_from_linear(target)).abs().mean(-1)


def sign_loss(ends: Float[Tensor, "2 edges"]) -> Float[Tensor, ""]:
    """Cost of edges whose ends lie on both sides of a surface: it pulls either end to the other side.

    Binary cross-entropy of each end, as a logit of being inside, against the other end's side (Munkberg et al. 2022,
    equation 2). On an edge with two signs that is log(1 + exp |x|) of both ends.

    Args:
        ends: Signed values at the ends of the crossed edges.
    """
    return torch.nn.functional.softplus(ends.abs()).mean(1).sum()


def white_light_loss(radiance: Float[Tensor, "directions 3"]) -> Float[Tensor, ""]:
    """Distance of the mean light from grey, relative to its brightness."""
    mean = radiance.mean(0)
    return (mean - mean.mean()).abs().mean() / mean.mean().clamp_min(1e-6)
