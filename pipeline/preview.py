"""The preview picture: what photos show beside what an asset, finished or in the making, shows from the same place."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from pipeline.color import linear_from_srgb, srgb_from_linear
from pipeline.formats.images_text import lettering
from pipeline.formats.resample import resize
from pipeline.scene import Camera, Environment, View
from pipeline.shading.light_maps import equirect_directions
from pipeline.shading.prefilter import radiance

COLUMNS = ("photo", "render", "base colour", "normal", "roughness", "metallic", "light")
MARGIN = 0.08  # around the object, as a share of its longer side
LINE = 0.09  # height of a line of text, as a share of a tile's
INK = 0.03  # of the letters, linear
BALL = 0.9  # diameter of the mirror ball, as a share of the room below the light's map


@dataclass(frozen=True, eq=False, kw_only=True)
class PreviewRow:
    """What one view shows; all arrays of the size of one picture, and anything outside the mask.

    Attributes:
        photo: Linear RGB.
        mask: Pixels that the asset covers.
        color: Linear radiance of the render.
        base_color: Linear RGB.
        normal: Unit world normals.
        roughness: In [0, 1].
        metallic: In [0, 1].
        camera: Where it was taken from.
        light: The light, in its own frame.
        light_from_world: Rotation from the world as it stood for the photo to that frame.
    """

    photo: Float[Tensor, "height width 3"]
    mask: Bool[Tensor, "height width"]
    color: Float[Tensor, "height width 3"]
    base_color: Float[Tensor, "height width 3"]
    normal: Float[Tensor, "height width 3"]
    roughness: Float[Tensor, "height width"]
    metallic: Float[Tensor, "height width"]
    camera: Camera
    light: Environment
    light_from_world: Float[Tensor, "3 3"]


def spread_views(views: tuple[View, ...], count: int) -> list[View]:
    """Views far apart: each next one is farthest from those already taken, so that fewer are the first of more."""
    centers = torch.stack([v.camera.camera_center for v in views])
    taken = [0]
    while len(taken) < min(count, len(views)):
        distance = torch.cdist(centers, centers[taken]).amin(1)
        taken.append(int(distance.argmax()))
    return [views[k] for k in taken]


def draw_preview(rows: list[PreviewRow], *, tile_px: int, caption: str = "") -> UInt8[np.ndarray, "height width 3"]:
    """A row of square tiles for each view below the names of the columns; 8-bit sRGB.

    Args:
        rows: The views.
        tile_px: Pixels along a tile's edge.
        caption: A line below, or nothing.
    """
    line_px, width_px = round(LINE * tile_px), tile_px * len(COLUMNS)
    parts = [torch.cat([_line(name, tile_px, line_px) for name in COLUMNS], 1), *(_tiles(r, tile_px) for r in rows)]
    if caption:
        parts.append(_line(caption, width_px, line_px))
    return srgb_bytes(torch.cat(parts))


def srgb_bytes(linear: Float[Tensor, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
    """Encode linear RGB as 8-bit sRGB."""
    return (srgb_from_linear(linear) * 255).round().byte().numpy()


def _line(text: str, width_px: int, height_px: int) -> Float[Tensor, "height width 3"]:
    covered = torch.from_numpy(lettering(text, width_px=width_px, height_px=height_px))
    return (1 - (1 - INK) * covered)[..., None].expand(-1, -1, 3)


def _tiles(row: PreviewRow, tile_px: int) -> Float[Tensor, "tile row 3"]:
    mask = row.mask[..., None]

    def grey(values: Float[Tensor, "height width"]) -> Float[Tensor, "height width 3"]:
        return linear_from_srgb(values)[..., None].expand(-1, -1, 3)  # data is shown as it is stored

    maps = [
        row.color.clamp(0, 1),
        row.base_color,
        linear_from_srgb(row.normal * 0.5 + 0.5),
        grey(row.roughness),
        grey(row.metallic),
    ]
    shown = [row.photo, *(torch.where(mask, m, torch.ones_like(m)) for m in maps)]
    return torch.cat([*(_tile(s, row.mask, tile_px) for s in shown), _light_tile(row, tile_px)], 1)


def _tile(
    image: Float[Tensor, "height width 3"], mask: Bool[Tensor, "height width"], tile_px: int
) -> Float[Tensor, "tile tile 3"]:
    """A square crop around the object, resized."""
    height, width = mask.shape
    rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    if len(rows) == 0:
        rows, columns = torch.tensor([0, height - 1]), torch.tensor([0, width - 1])
    middle_row, middle_column = (int(rows[0]) + int(rows[-1])) // 2, (int(columns[0]) + int(columns[-1])) // 2
    half = int((0.5 + MARGIN) * max(int(rows[-1] - rows[0]), int(columns[-1] - columns[0]), 8))
    padded = torch.nn.functional.pad(image, (0, 0, half, half, half, half), value=1.0)
    crop = padded[middle_row : middle_row + 2 * half, middle_column : middle_column + 2 * half]
    return torch.from_numpy(resize(crop.contiguous().numpy(), tile_px, tile_px))


def _light_tile(row: PreviewRow, tile_px: int) -> Float[Tensor, "tile tile 3"]:
    """The light all around, as `light.hdr` has it, and below it a mirror ball in place of the object."""

    def shown(directions: Float[Tensor, "rows columns 3"]) -> Float[Tensor, "rows columns 3"]:
        turned = directions.reshape(-1, 3).float() @ row.light_from_world.float().mT
        seen = radiance(row.light, turned).clamp_min(0)
        return (seen / (1 + seen)).reshape(directions.shape)  # lamps are a hundred times as bright as walls

    height_px = tile_px // 2
    at = ((torch.arange(height_px) + 0.5) / height_px * 2 - 1) / BALL
    y, x = torch.meshgrid(at, at, indexing="ij")
    distance = torch.hypot(x, y)[..., None]
    covered = ((1 - distance) * (BALL * height_px / 2) + 0.5).clamp(0, 1)
    across = torch.stack([x, y], -1) / distance.clamp_min(1)
    normal = torch.cat([across, -(1 - distance.square()).clamp_min(0).sqrt()], -1)  # OpenCV's camera looks along +z
    mirrored = torch.tensor([0.0, 0.0, 1.0]) - 2 * normal[..., 2:] * normal
    world_from_cam = row.camera.cam_from_world[:3, :3].mT.float()
    ball = torch.lerp(torch.ones(3), shown(mirrored @ world_from_cam.mT), covered)
    around = shown(equirect_directions(height_px))
    tile = torch.ones(tile_px, tile_px, 3)
    tile[:height_px, : around.shape[1]] = around
    left = (tile_px - height_px) // 2
    tile[tile_px - height_px :, left : left + height_px] = ball
    return tile
