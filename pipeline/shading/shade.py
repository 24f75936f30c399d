"""Shading of surface points under prefiltered light."""

from jaxtyping import Float
from torch import Tensor

from pipeline.shading.disney import DIELECTRIC_F0, directional_albedo, dominant_direction
from pipeline.shading.flash import shade_flash
from pipeline.shading.fused import can_fuse, fused_shade
from pipeline.shading.prefilter import PrefilteredLight
from pipeline.shading.shadowed_light import ShadowedLight


def shade(
    light: PrefilteredLight | ShadowedLight,
    *,
    base_color: Float[Tensor, "points 3"],
    roughness: Float[Tensor, "points"],
    metallic: Float[Tensor, "points"],
    normal: Float[Tensor, "points 3"],
    wo: Float[Tensor, "points 3"],
) -> Float[Tensor, "points 3"]:
    """Radiance towards the camera, linear RGB.

    The glTF 2.0 metallic-roughness model: a metal mirrors with f0 = base colour, a dielectric with 4 % over a
    Lambertian base that gets what the surface does not mirror; `metallic` blends the two.

    Args:
        light: Prefiltered distant light, for points in the open or for these points of a mesh, with or without a lamp
            at the camera.
        base_color: Linear RGB in [0, 1].
        roughness: Perceptual roughness in [0, 1].
        metallic: 0 dielectric .. 1 metal.
        normal: Unit shading normals, world frame.
        wo: Unit directions to the camera, world frame.
    """
    inputs = (base_color, roughness, metallic, normal, wo)
    open_light = light.open_light if isinstance(light, ShadowedLight) else light
    if can_fuse(open_light.table, *inputs):
        shadow = light.at_mirrored(normal, wo, roughness) if isinstance(light, ShadowedLight) else None
        turned = (open_light.in_light(normal), open_light.in_light(wo))
        color = fused_shade(open_light, shadow, (*inputs[:3], *turned))
    else:
        color = shade_eager(light, *inputs)
    return color if open_light.flash is None else color + shade_flash(open_light.flash, *inputs)


def shade_eager(
    light: PrefilteredLight | ShadowedLight,
    base_color: Float[Tensor, "points 3"],
    roughness: Float[Tensor, "points"],
    metallic: Float[Tensor, "points"],
    normal: Float[Tensor, "points 3"],
    wo: Float[Tensor, "points 3"],
) -> Float[Tensor, "points 3"]:
    """`shade` of distant light written out in torch, for any device and precision."""
    cos_v = (normal * wo).sum(-1).clamp_min(1e-3)
    scale, bias = directional_albedo(cos_v, roughness)
    reflected = light.specular(dominant_direction(normal, wo, roughness), roughness)
    f0 = DIELECTRIC_F0 + metallic[:, None] * (base_color - DIELECTRIC_F0)
    specular = reflected * (f0 * scale[:, None] + bias[:, None])
    passed_on = (1 - DIELECTRIC_F0 * scale - bias).clamp_min(0) * (1 - metallic)
    return specular + base_color * passed_on[:, None] * light.diffuse(normal)
