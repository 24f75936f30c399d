"""Figures of merit."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def psnr(image: Float[Tensor, "*shape"], reference: Float[Tensor, "*shape"]) -> float:
    """Peak signal-to-noise ratio in dB for values in [0, 1]; 120 dB at most."""
    error = float(torch.mean((image - reference) ** 2))
    return -10 * math.log10(max(error, 1e-12))
