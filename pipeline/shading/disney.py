"""The glTF 2.0 metallic-roughness BRDF (Disney/GGX) as it acts on prefiltered light.

Lobes: GGX distribution (Walter et al. 2007), height-correlated Smith shadowing (Heitz 2014), Schlick's
Fresnel term; a Lambertian base below a dielectric of reflectance 4 %. `alpha = roughness**2`.
"""

import functools
import math

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.shading.gather import weighted_rows

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


def dominant_direction(
    normal: Float[Tensor, "points 3"], wo: Float[Tensor, "points 3"], roughness: Float[Tensor, "points"]
) -> Float[Tensor, "points 3"]:
    """Where most of the mirrored light comes from: on rough surfaces nearer to the normal than the mirror direction.

    Lagarde and de Rousiers 2014, "Moving Frostbite to PBR", listing 22; unit directions.
    """
    mirrored = 2 * (normal * wo).sum(-1, keepdim=True).clamp_min(1e-3) * normal - wo
    smooth = (1 - roughness**2).clamp_min(0)[:, None]
    share = smooth**1.5 + smooth * (1 - smooth)
    return torch.nn.functional.normalize(normal + share * (mirrored - normal), dim=-1)


def even_reflectance(
    base_color: Float[Tensor, "points 3"], metallic: Float[Tensor, "points"]
) -> Float[Tensor, "points 3"]:
    """About what share of even light a surface sends back, scattered and mirrored together.

    A dielectric mirrors some 5 % of light from all sides (f0 = 4 %, more at grazing angles).
    """
    m = metallic[:, None]
    return base_color * (1 - 0.05 * (1 - m)) + 0.05 * (1 - m)


@functools.cache
def directional_albedo_table(device: torch.device) -> Float[Tensor, "entries 2"]:
    """Scale and bias of f0 in the specular albedo, over 32 x 32 (n.v, roughness), roughness fastest.

    specular albedo = f0 * scale + bias (Karis 2013), by 1024 stratified half vectors an entry, drawn as the view
    sees them (Heitz 2018; spherical caps of Dupuy and Benyoub 2023): each then weighs shadowing / masking <= 1.
    """
    grid = torch.arange(_TABLE_SIZE, dtype=torch.float64) / (_TABLE_SIZE - 1)
    cos_v, alpha = grid.clamp_min(1e-3)[:, None, None], grid.clamp_min(MIN_ROUGHNESS)[None, :, None] ** 2
    sin_v = torch.sqrt(1 - cos_v * cos_v)
    side = 32
    index = torch.arange(side * side, dtype=torch.float64)
    u, phi = (index // side + 0.5) / side, math.pi * (index % side + 0.5) / side  # the other half is the mirror image
    stretched = torch.sqrt((alpha * sin_v) ** 2 + cos_v**2)  # the view where the surface is a hemisphere
    view_x, view_z = alpha * sin_v / stretched, cos_v / stretched
    z = (1 - u) * (1 + view_z) - view_z
    across = torch.sqrt((1 - z * z).clamp_min(0))
    h = torch.stack([alpha * (across * torch.cos(phi) + view_x), alpha * across * torch.sin(phi), z + view_z])
    h = h / torch.linalg.norm(h, dim=0)
    v_h = sin_v * h[0] + cos_v * h[2]
    cos_l = 2 * v_h * h[2] - cos_v
    masking_v, masking_l = _smith(cos_v, alpha), _smith(cos_l.clamp_min(1e-9), alpha)
    weight = torch.where(cos_l > 0, (1 + masking_v) / (1 + masking_v + masking_l), 0.0)
    fresnel = (1 - v_h.clamp(0, 1)) ** 5
    table = torch.stack([(weight * (1 - fresnel)).mean(-1), (weight * fresnel).mean(-1)], -1)
    return table.reshape(-1, 2).float().to(device)


def _smith(cosine: Float[Tensor, "..."], alpha: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Lambda of GGX (Heitz 2014, equation 72): of facets seen from a direction, how many are hidden per visible one."""
    return (torch.sqrt(1 + alpha * alpha * (1 / (cosine * cosine) - 1)) - 1) / 2


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
    looked_up = weighted_rows(directional_albedo_table(cos_v.device), corner, weights)
    return looked_up[:, 0], looked_up[:, 1]
