"""Rendered views as files: the colour picture, and the maps behind it."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from pipeline.color import linear_from_srgb, srgb_from_linear
from pipeline.formats.exr import write_exr
from pipeline.formats.images import decode_photo, write_mask, write_png
from pipeline.scene import Camera
from pipeline.shading.light_maps import map_radiance
from pipeline.shading.render import Picture

Background = Literal["white", "black", "light", "transparent"]


def finished(
    picture: Picture, background: Float[Tensor, "height width 3"] | None, exposure: float
) -> UInt8[np.ndarray, "height width channels"]:
    """The colour picture in sRGB, over a background or with straight alpha.

    Args:
        picture: The rendered view.
        background: What `backdrop` made.
        exposure: Factor on the asset's radiance.
    """
    alpha = picture.alpha[..., None]
    color = (picture.color * exposure).clamp(0, 1)  # before it is mixed: outlines of highlights stay smooth
    if background is None:
        return as_bytes(torch.cat([srgb_from_linear(color), alpha], -1))
    return as_bytes(srgb_from_linear(color * alpha + background.clamp(0, 1) * (1 - alpha)))


def backdrop(
    kind: Background, light: Float[Tensor, "rows columns 3"], camera: Camera, exposure: float
) -> Float[Tensor, "_ _ 3"] | None:
    """What lies behind the asset, linear; none for a transparent picture. Exposure acts on the light alone."""
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
    if kind == "depth":
        write_exr(folder / f"{name}_depth.exr", {"Z": picture.depth})
    elif kind == "mask":
        write_mask(folder / f"{name}_mask.png", picture.alpha)
    else:
        values = {
            "normal": picture.normal * 0.5 + 0.5,
            "base_color": srgb_from_linear(picture.base_color),
            "orm": picture.orm,
        }
        write_png(folder / f"{name}_{kind}.png", as_bytes(torch.where(picture.mask[..., None], values[kind], 0)))


def as_bytes(values: Float[Tensor, "height width channels"]) -> UInt8[np.ndarray, "height width channels"]:
    """Values in [0, 1] as 8 bits."""
    return (values.clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def over_white(path: Path) -> UInt8[np.ndarray, "height width 3"]:
    """A written colour picture as a video's frame: videos know no alpha."""
    photo = decode_photo(path)
    if photo.alpha is None:
        return photo.rgb
    alpha = torch.tensor(photo.alpha)[..., None] / 255
    color = linear_from_srgb(torch.tensor(photo.rgb) / 255)
    return as_bytes(srgb_from_linear(color * alpha + (1 - alpha)))
