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


def parsimony_loss(
    base_color: Float[Tensor, "pixels 3"], like: Float[Tensor, "pixels channels"], *, sigma: float
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Few paints: quadratic entropy of base colour, and equal roughness and metallic where the colour is equal.

    The first is -log of the mean of exp(-|xi - xj|^2 / 4 sigma^2) over all pairs, with x = log(base colour + .03):
    Renyi's entropy by Parzen windows, the parsimony prior of Barron and Malik (2015). The second is the mean
    absolute difference of `like` over pairs, weighted by that kernel.
    """
    x = torch.log(base_color + 0.03)
    # channel by channel, not by a matrix product: those are not repeatable to the last bit
    square = torch.stack([(c[:, None] - c[None]).square() for c in x.unbind(-1)]).sum(0)
    kernel = torch.exp(square * (-1 / (4 * sigma**2)))
    weight = kernel.detach() / kernel.detach().sum()
    difference = sum((weight * (c[:, None] - c[None]).abs()).sum() for c in like.unbind(-1))
    return -torch.log(kernel.mean()), torch.as_tensor(difference)


def white_light_loss(radiance: Float[Tensor, "directions 3"]) -> Float[Tensor, ""]:
    """Distance of the mean light from grey, relative to its brightness."""
    mean = radiance.mean(0)
    return (mean - mean.mean()).abs().mean() / mean.mean().clamp_min(1e-6)
