"""The preview picture: what the photos show beside what the asset shows."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from pipeline.color import linear_from_srgb, srgb_from_linear
from pipeline.formats.resample import resize
from pipeline.shading.render import Picture

TILE_PX = 320
MARGIN = 0.08


def preview_row(photo: Float[Tensor, "height width 3"], picture: Picture) -> Float[Tensor, "tile row 3"]:
    """Photo | render | base colour | normal | roughness | metallic, cropped to the object; linear RGB.

    Args:
        photo: Linear photo of the same camera as `picture`.
        picture: The asset's render.
    """
    mask = picture.mask[..., None]

    def grey(values: Float[Tensor, "height width"]) -> Float[Tensor, "height width 3"]:
        return linear_from_srgb(values[..., None].expand(-1, -1, 3))  # data is shown as it is stored

    tiles = [
        photo,
        picture.color.clamp(0, 1),
        picture.base_color,
        linear_from_srgb(picture.normal * 0.5 + 0.5),
        grey(picture.orm[..., 1]),
        grey(picture.orm[..., 2]),
    ]
    shown = [tiles[0], *(torch.where(mask, t, torch.ones_like(t)) for t in tiles[1:])]
    return torch.cat([_tile(t, picture) for t in shown], 1)


def srgb_bytes(linear: Float[Tensor, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
    """Encode linear RGB as 8-bit sRGB."""
    return (srgb_from_linear(linear) * 255).round().byte().numpy()


def _tile(image: Float[Tensor, "height width 3"], picture: Picture) -> Float[Tensor, "tile tile 3"]:
    """A square crop around the object, resized."""
    height, width = picture.mask.shape
    rows, columns = picture.mask.any(1).nonzero()[:, 0], picture.mask.any(0).nonzero()[:, 0]
    if len(rows) == 0:
        rows, columns = torch.tensor([0, height - 1]), torch.tensor([0, width - 1])
    middle_row, middle_column = (int(rows[0]) + int(rows[-1])) // 2, (int(columns[0]) + int(columns[-1])) // 2
    half = int((0.5 + MARGIN) * max(int(rows[-1] - rows[0]), int(columns[-1] - columns[0]), 8))
    padded = torch.nn.functional.pad(image, (0, 0, half, half, half, half), value=1.0)
    crop = padded[middle_row : middle_row + 2 * half, middle_column : middle_column + 2 * half]
    return torch.from_numpy(resize(crop.contiguous().numpy(), TILE_PX, TILE_PX))
