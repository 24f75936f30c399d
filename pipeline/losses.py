"""Losses and priors of the fit."""

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.color import perceptual_from_linear

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


def white_light_loss(radiance: Float[Tensor, "directions 3"]) -> Float[Tensor, ""]:
    """Distance of the mean light from grey, relative to its brightness."""
    mean = radiance.mean(0)
    return (mean - mean.mean()).abs().mean() / mean.mean().clamp_min(1e-6)
