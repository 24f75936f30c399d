"""What the mirroring coat of a dielectric lets through to its body, as lobes that a path tracer knows."""

import functools

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.shading.disney import DIELECTRIC_F0, directional_albedo

_STEPS = 64


def body_of_coat(roughness: Float[Tensor, "height width 1"]) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
    """Two numbers that make a Lambertian body below a coat of any roughness.

    Below a rough coat, a body scatters base_color * (1 - E(view, roughness)), where E is the share that the coat
    mirrors. That lies between what a smooth coat lets through, 1 - F(view), and the same share for all directions, and
    is fitted by them: `let_through * (smooth_share * (1 - F) + 1 - smooth_share)`.

    Args:
        roughness: Perceptual roughness.

    Returns:
        `smooth_share` and `let_through`, each in the shape of `roughness`.
    """
    table = _fitted()
    at = roughness.clamp(0, 1) * _STEPS
    low = at.floor().clamp_max(_STEPS - 1)
    value = torch.lerp(table[low.long()], table[low.long() + 1], (at - low)[..., None])
    return value[..., 0], value[..., 1]


@functools.cache
def _fitted() -> Float[Tensor, "entries 2"]:
    """Least squares over view directions, weighted by how much of a ball shows them."""
    cosine = (torch.arange(64) + 0.5) / 64
    smooth = 1 - fresnel(cosine)
    rows = []
    for step in range(_STEPS + 1):
        scale, bias = directional_albedo(cosine, torch.full_like(cosine, step / _STEPS))
        rough = 1 - DIELECTRIC_F0 * scale - bias
        weight = cosine.sqrt()[:, None]
        basis = torch.stack([smooth, torch.ones_like(smooth)], -1)
        solved = torch.linalg.lstsq(basis * weight, rough[:, None] * weight).solution[:, 0]
        share = (solved[0] / solved.sum()).clamp(0, 1)
        rows.append(torch.stack([share, solved.sum()]))
    return torch.stack(rows)


def fresnel(cosine: Float[Tensor, "..."], index: float = 1.5) -> Float[Tensor, "..."]:
    """Share of unpolarised light that a smooth dielectric mirrors."""
    g = torch.sqrt(index**2 - 1 + cosine**2)
    return (
        0.5
        * ((g - cosine) / (g + cosine)) ** 2
        * (1 + ((cosine * (g + cosine) - 1) / (cosine * (g - cosine) + 1)) ** 2)
    )
