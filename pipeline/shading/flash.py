"""Light from a lamp at the camera, which comes back the way it went: a flash, a head torch, a ring light."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.shading.disney import DIELECTRIC_F0, MIN_ROUGHNESS


def shade_flash(
    flash: Float[Tensor, "points 3"],
    base_color: Float[Tensor, "points 3"],
    roughness: Float[Tensor, "points"],
    metallic: Float[Tensor, "points"],
    normal: Float[Tensor, "points 3"],
    wo: Float[Tensor, "points 3"],
) -> Float[Tensor, "points 3"]:
    """Radiance towards a camera that holds the lamp: glTF's model at wi = wo = h, where Fresnel's term is f0.

    Args:
        flash: What a white Lambertian surface that faces the lamp radiates at each point: irradiance / pi.
        base_color: Linear RGB in [0, 1].
        roughness: Perceptual roughness in [0, 1].
        metallic: 0 dielectric .. 1 metal.
        normal: Unit shading normals.
        wo: Unit directions to the camera.
    """
    cos = (normal * wo).sum(-1).clamp(1e-3, 1)
    a2 = roughness.clamp_min(MIN_ROUGHNESS) ** 4
    spread = cos * cos * (a2 - 1) + 1
    distribution = a2 / (math.pi * spread * spread)
    visibility = 0.25 / (cos * torch.sqrt(a2 + (1 - a2) * cos * cos))  # Smith's, height-correlated, over 4 cos cos
    f0 = DIELECTRIC_F0 + metallic[:, None] * (base_color - DIELECTRIC_F0)
    scattered = base_color * ((1 - DIELECTRIC_F0) * (1 - metallic))[:, None]
    return flash * cos[:, None] * (scattered + f0 * (math.pi * distribution * visibility)[:, None])
