"""A material's maps, read in the pixels of a picture or at the vertices of a mesh."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample

from pipeline.raster.rasterizer import GBuffer, Rasterizer, Sampling
from pipeline.scene import Material
from pipeline.shading.disney import even_reflectance

_SHARPEST = 0.5  # a pixel's footprint counts as at least half as wide as long


def material_in_view(material: Material, buffer: GBuffer, rasterizer: Rasterizer) -> Float[Tensor, "points channels"]:
    """Base colour, orm and the stored normal if there is one, in the covered pixels of a buffer with one view.

    Filtered by mip levels where the buffer holds the derivatives of its coordinates, else bilinearly.
    """
    maps = [material.base_color, material.orm] + ([] if material.normal is None else [material.normal])
    texels = torch.cat(maps, -1)[None]
    footprint = None
    if buffer.uv_derivatives is not None:
        footprint = _round_footprint(buffer.uv_derivatives, size_px=(texels.shape[2], texels.shape[1]))
    values = rasterizer.texture(
        texels,
        buffer.uv,
        derivatives=footprint,
        mask=buffer.mask,
        sampling=Sampling(filtering="linear" if footprint is None else "mip", wrap=material.wrap),
    )
    return values[0][buffer.mask[0]]


def reflectance_at(material: Material, uv: Float[Tensor, "points 2"]) -> Float[Tensor, "points 3"]:
    """Share of even light that the surface sends back at texture coordinates."""
    planes = torch.cat([material.base_color, material.orm[..., 2:]], -1).movedim(-1, 0)[None]
    where = (uv % 1 if material.wrap else uv) * 2 - 1
    values = grid_sample(planes, where[None, None], padding_mode="border", align_corners=False)[0, :, 0].mT
    return even_reflectance(values[:, :3], values[:, 3])


def _round_footprint(
    derivatives: Float[Tensor, "views height width 2 2"], *, size_px: tuple[int, int]
) -> Float[Tensor, "views height width 2 2"]:
    """Derivatives of a pixel that is as large in the texture, but round.

    A mip level blurs all directions alike. By the longer axis, surfaces seen at a slant lose what the shorter one
    still resolves; by the area, both give way. (Two samples a pixel on a radio: 24.9 dB instead of 24.4.)
    """
    size = torch.tensor(size_px).to(derivatives)
    texels = derivatives * size[:, None]
    area = torch.linalg.det(texels).abs()
    total = texels.square().sum((-1, -2))
    longest = torch.sqrt(0.5 * (total + (total.square() - 4 * area.square()).clamp_min(0).sqrt()))
    side = torch.maximum(area.sqrt(), _SHARPEST * longest)
    return side[..., None, None] * torch.eye(2).to(derivatives) / size[:, None]
