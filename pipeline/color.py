"""Transfer curves and luminance: the only module that applies an sRGB curve."""

import torch
from jaxtyping import Float
from torch import Tensor

LUMINANCE_REC709 = (0.2126, 0.7152, 0.0722)


def srgb_from_linear(linear: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Encode linear values in [0, 1] with the sRGB curve (IEC 61966-2-1); values outside are clamped."""
    return _srgb_curve(linear.clamp(0.0, 1.0))


def _srgb_curve(x: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    return torch.where(x <= 0.0031308, 12.92 * x, 1.055 * x.clamp_min(0.0031308) ** (1 / 2.4) - 0.055)


def linear_from_srgb(srgb: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Decode sRGB values in [0, 1] to linear ones (IEC 61966-2-1)."""
    x = srgb.clamp(0.0, 1.0)
    return torch.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def perceptual_from_linear(linear: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """A gamma of 1/2.2 for losses: no upper clamp, and a finite slope at zero."""
    return (linear.clamp_min(0) + 1e-3) ** (1 / 2.2)


def log_srgb_from_linear(linear: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """The sRGB curve over log(1 + x), without an upper clamp: nvdiffrec's loss compares such values."""
    return _srgb_curve(torch.log1p(linear.clamp_min(0)))


def luminance(linear_rgb: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
    """Relative luminance of linear Rec. 709 RGB."""
    return linear_rgb @ linear_rgb.new_tensor(LUMINANCE_REC709)
