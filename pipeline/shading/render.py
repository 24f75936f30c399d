"""Render an asset as a camera sees it: colour and the maps behind it."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pipeline.raster.gbuffer import render_gbuffer
from pipeline.raster.rasterizer import Rasterizer
from pipeline.scene import Asset, Camera, Environment, Material
from pipeline.shading.prefilter import PrefilteredLight, prefilter
from pipeline.shading.shade import shade
from pipeline.shading.texture_pyramid import sample_texture


@dataclass(frozen=True, eq=False, kw_only=True)
class Picture:
    """One view of an asset; every map is zero outside the mask.

    Attributes:
        mask: Pixels whose centre the asset covers.
        color: Linear radiance.
        base_color: Linear RGB.
        normal: Unit world normals.
        roughness: In [0, 1].
        metallic: In [0, 1].
    """

    mask: Bool[Tensor, "height width"]
    color: Float[Tensor, "height width 3"]
    base_color: Float[Tensor, "height width 3"]
    normal: Float[Tensor, "height width 3"]
    roughness: Float[Tensor, "height width"]
    metallic: Float[Tensor, "height width"]


def render(asset: Asset, normals: Float[Tensor, "vertices 3"], camera: Camera, rasterizer: Rasterizer) -> Picture:
    """Render an asset under its own light, without shadows.

    Args:
        asset: With material and environment.
        normals: Unit vertex normals.
        camera: One camera.
        rasterizer: The backend.

    Raises:
        ValueError: When the asset is blank.
    """
    if asset.material is None or asset.environment is None:
        raise ValueError("a blank asset cannot be rendered")
    buffer = render_gbuffer(rasterizer, asset.mesh, normals, camera)
    mask = buffer.mask[0]
    normal, position, uv = buffer.normal[0][mask], buffer.position[0][mask], buffer.uv[0][mask]
    center = camera.camera_center.to(position)
    wo = torch.nn.functional.normalize(center - position, dim=-1)
    values = material_at(asset.material, uv)
    light = _light(asset.environment)
    base_color, roughness, metallic = values[:, :3], values[:, 3], values[:, 4]
    color = shade(light, base_color=base_color, roughness=roughness, metallic=metallic, normal=normal, wo=wo)

    def spread(covered: Tensor) -> Tensor:
        full = torch.zeros(*mask.shape, *covered.shape[1:], device=covered.device)
        full[mask] = covered
        return full

    return Picture(
        mask=mask,
        color=spread(color),
        base_color=spread(base_color),
        normal=spread(normal),
        roughness=spread(roughness),
        metallic=spread(metallic),
    )


def material_at(material: Material, uv: Float[Tensor, "points 2"]) -> Float[Tensor, "points 5"]:
    """Base colour, roughness and metallic at texture coordinates."""
    maps = torch.cat([material.base_color, material.orm[..., 1:]], -1)
    return sample_texture(maps, uv)


def _light(environment: Environment) -> PrefilteredLight:
    with torch.no_grad():
        return prefilter(environment)
