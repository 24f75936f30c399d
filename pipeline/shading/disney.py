"""The glTF 2.0 metallic-roughness BRDF (Disney/GGX) as it acts on prefiltered light.

Lobes: GGX distribution (Walter et al. 2007), height-correlated Smith shadowing (Heitz 2014), Schlick's
Fresnel term; a Lambertian base below a dielectric of reflectance 4 %. `alpha = roughness**2`.
"""

import functools
import math

import torch
from jaxtyping import Float
from torch import Tensor

DIELECTRIC_F0 = 0.04
MIN_ROUGHNESS = 0.05
_TABLE_SIZE = 32


def ggx_distribution(cos_h: Float[Tensor, "..."], alpha: float) -> Float[Tensor, "..."]:
    """D(h) of GGX per steradian of half vectors; its cosine-weighted integral over the hemisphere is 1."""
    a2 = alpha * alpha
    return a2 / (math.pi * (cos_h * cos_h * (a2 - 1) + 1) ** 2)


def reflected_lobe(cosine: Float[Tensor, "..."], roughness: float) -> Float[Tensor, "..."]:
    """The GGX lobe around the mirror direction when seen head on: the kernel of the split sum (Karis 2013).

    Args:
        cosine: Cosine between the light and the mirror direction.
        roughness: Perceptual roughness.
    """
    cos_h = torch.sqrt(((1 + cosine) / 2).clamp_min(0))
    return ggx_distribution(cos_h, max(roughness, MIN_ROUGHNESS) ** 2) * cosine.clamp_min(0)


@functools.cache
def directional_albedo_table(device: torch.device) -> Float[Tensor, "entries 2"]:
    """Scale and bias of f0 in the specular albedo, over 32 x 32 (n.v, roughness), roughness fastest.

    specular albedo = f0 * scale + bias, by importance sampling of GGX with 1024 stratified samples (Karis 2013).
    """
    grid = (torch.arange(_TABLE_SIZE, dtype=torch.float64)) / (_TABLE_SIZE - 1)
    cos_v, roughness = grid.clamp_min(1e-3)[:, None, None], grid.clamp_min(MIN_ROUGHNESS)[None, :, None]
    side = 32
    index = torch.arange(side * side, dtype=torch.float64)
    u1, phi = (index // side + 0.5) / side, 2 * math.pi * ((index % side + 0.5) / side)
    a2 = roughness**4
    cos_h = torch.sqrt((1 - u1) / (1 + (a2 - 1) * u1))
    sin_h = torch.sqrt((1 - cos_h * cos_h).clamp_min(0))
    sin_v = torch.sqrt((1 - cos_v * cos_v).clamp_min(0))
    v_h = sin_v * sin_h * torch.cos(phi) + cos_v * cos_h
    cos_l = (2 * v_h * cos_h - cos_v).clamp_min(0)
    smith = (
        2
        * cos_l
        / (cos_l * torch.sqrt(a2 + (1 - a2) * cos_v**2) + cos_v * torch.sqrt(a2 + (1 - a2) * cos_l**2) + 1e-12)
    )
    weight = torch.where(cos_l > 0, smith * v_h.clamp_min(0) / cos_h, torch.zeros(()).double())
    fresnel = (1 - v_h.clamp(0, 1)) ** 5
    table = torch.stack([(weight * (1 - fresnel)).mean(-1), (weight * fresnel).mean(-1)], -1)
    return table.reshape(-1, 2).float().to(device)


def directional_albedo(
    cos_v: Float[Tensor, "points"], roughness: Float[Tensor, "points"]
) -> tuple[Float[Tensor, "points"], Float[Tensor, "points"]]:
    """Look up scale and bias of the specular albedo; differentiable with respect to roughness."""
    last = _TABLE_SIZE - 1
    x, y = cos_v.clamp(0, 1) * last, roughness.clamp(0, 1) * last
    x0, y0 = x.detach().floor().clamp_max(last - 1), y.detach().floor().clamp_max(last - 1)
    fx, fy = x - x0, y - y0
    corner = (x0.long() * _TABLE_SIZE + y0.long())[:, None]
    corner = corner + torch.tensor([0, _TABLE_SIZE, 1, _TABLE_SIZE + 1], device=cos_v.device)
    weights = torch.stack([(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy], -1)
    looked_up = torch.nn.functional.embedding_bag(
        corner, directional_albedo_table(cos_v.device), per_sample_weights=weights, mode="sum"
    )
    return looked_up[:, 0], looked_up[:, 1]
