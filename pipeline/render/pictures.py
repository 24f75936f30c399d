"""Rendered views as files: the colour picture, and the maps behind it."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from pipeline.color import linear_from_srgb, srgb_from_linear
from pipeline.formats.images import decode_photo, write_mask, write_png
from pipeline.scene import Camera
from pipeline.shading.light_maps import map_radiance
from pipeline.shading.render import Picture

Background = Literal["white", "black", "light", "transparent"]
BACKGROUNDS: tuple[Background, ...] = ("white", "black", "light", "transparent")
MAPS = ("normal", "base_color", "orm", "mask")


def finished(
    picture: Picture, background: Float[Tensor, "height width 3"] | None, exposure: float
) -> UInt8[np.ndarray, "height width channels"]:
    """The colour picture in sRGB, over a background or with straight alpha.

    Args:
        picture: The rendered view.
        background: Linear radiance behind the asset, or none for a transparent picture.
        exposure: Factor on the asset's radiance.
    """
    alpha = picture.mask[..., None].float()
    color = picture.color * exposure
    if background is None:
        return _bytes(torch.cat([srgb_from_linear(color), alpha], -1))
    return _bytes(srgb_from_linear(color * alpha + background * (1 - alpha)))


def backdrop(
    kind: Background, light: Float[Tensor, "height width 3"], camera: Camera, exposure: float
) -> Float[Tensor, "_ _ 3"] | None:
    """What lies behind the asset, linear; none for a transparent picture."""
    if kind == "transparent":
        return None
    if kind == "light":
        rays = pixel_directions(camera)
        return exposure * map_radiance(light, rays.reshape(-1, 3)).reshape(rays.shape)
    return torch.full((camera.height, camera.width, 3), 1.0 if kind == "white" else 0.0)


def pixel_directions(camera: Camera) -> Float[Tensor, "height width 3"]:
    """Unit world directions through the centres of a camera's pixels."""
    y, x = torch.meshgrid(torch.arange(camera.height) + 0.5, torch.arange(camera.width) + 0.5, indexing="ij")
    pixels = torch.stack([x, y, torch.ones_like(x)], -1).double()
    rays = pixels @ torch.linalg.inv(camera.K.double()).mT @ camera.cam_from_world[:3, :3].double()
    return torch.nn.functional.normalize(rays, dim=-1).float()


def write_map(kind: str, picture: Picture, folder: Path, name: str) -> None:
    """Write one of the maps behind a picture, as `NAME_KIND`; zero where the asset is not seen.

    World normals as n * 0.5 + 0.5; base colour in sRGB; occlusion, roughness and metallic as they are; coverage as
    grey. Depth along the camera's axis, in the asset's unit, is float32 in the channel Z of an EXR.
    """
    path = folder / f"{name}_{kind}.png"
    if kind == "mask":
        write_mask(path, picture.mask.float())
    elif kind == "normal":
        write_png(path, _covered(picture, picture.normal * 0.5 + 0.5))
    elif kind == "base_color":
        write_png(path, _covered(picture, srgb_from_linear(picture.base_color)))
    else:
        occlusion = torch.ones_like(picture.roughness)
        write_png(path, _covered(picture, torch.stack([occlusion, picture.roughness, picture.metallic], -1)))


def _covered(picture: Picture, values: Float[Tensor, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
    return _bytes(torch.where(picture.mask[..., None], values, 0))


def _bytes(values: Float[Tensor, "height width channels"]) -> UInt8[np.ndarray, "height width channels"]:
    return (values.clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def over_white(path: Path) -> UInt8[np.ndarray, "height width 3"]:
    """A written colour picture as a video's frame: videos know no alpha."""
    photo = decode_photo(path)
    if photo.alpha is None:
        return photo.rgb
    alpha = torch.from_numpy(photo.alpha)[..., None] / 255
    color = linear_from_srgb(torch.from_numpy(photo.rgb) / 255)
    return _bytes(srgb_from_linear(color * alpha + (1 - alpha)))
