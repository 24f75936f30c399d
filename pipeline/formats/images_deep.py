"""Pictures of more than 8 bits a channel: 16-bit sRGB and linear radiance."""

import math
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float32, Shaped, UInt8, UInt16
from torch import Tensor

from pipeline.color import luminance, srgb_from_linear
from pipeline.formats import images_heif
from pipeline.formats.exr import write_exr
from pipeline.formats.files import write_atomic
from pipeline.formats.images_pillow import Picture

Deep = UInt16[np.ndarray, "height width 3"] | Float32[np.ndarray, "height width 3"]

_MAX_SAMPLES = 1_000_000
_BRIGHTEST = 0.99  # quantile of the luminance that becomes white: less than 1 % of the pixels is clipped


def deep_channels(
    picture: Picture, rgb: UInt8[np.ndarray, "height width 3"], alpha: UInt8[np.ndarray, "height width"] | None
) -> tuple[UInt16[np.ndarray, "height width 3"], UInt16[np.ndarray, "height width"] | None] | None:
    """All bits of a picture that Pillow cut to 8, and of its alpha, upright; none where no second decoder agrees.

    Args:
        picture: A picture with `deep_data`.
        rgb: Its colours, upright, as Pillow cut them.
        alpha: Its alpha alike, or none.
    """
    if picture.deep_data is None:
        return None
    if picture.image.format == "HEIF":
        candidates = [images_heif.read_deep(picture.deep_data)]
    else:
        stored = _decoded_by_opencv(picture)
        candidates = [] if stored is None else [stored, upright(stored, picture.orientation)]
    for deep in candidates:
        if not _agree(deep[..., :3], rgb):
            continue
        if alpha is None:
            return np.ascontiguousarray(deep[..., :3]), None
        found = deep.shape[2] == 4 and _agree(deep[..., 3], alpha)
        return np.ascontiguousarray(deep[..., :3]), deep[..., 3] if found else alpha.astype(np.uint16) * 257
    return None


def _agree(deep: UInt16[np.ndarray, "..."], cut: UInt8[np.ndarray, "..."]) -> bool:
    """Whether two decoders do: one rounds down, the other may round to nearest, or filter chroma in its own way."""
    return deep.shape == cut.shape and bool(np.abs((deep >> 8).astype(np.int16) - cut).max() <= 2)


def _decoded_by_opencv(picture: Picture) -> Shaped[np.ndarray, "height width channels"] | None:
    if picture.image.mode.startswith("I;16"):
        return np.asarray(picture.image, np.uint16)[..., None].repeat(3, -1)
    try:
        deep = cv2.imdecode(np.frombuffer(picture.deep_data or b"", np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if deep is None or deep.dtype != np.uint16:
        return None
    if deep.ndim == 2:
        return np.asarray(deep[..., None].repeat(3, -1))
    return np.asarray(cv2.cvtColor(deep, cv2.COLOR_BGRA2RGBA if deep.shape[2] == 4 else cv2.COLOR_BGR2RGB))


def upright(stored: Shaped[np.ndarray, "..."], orientation: int) -> Shaped[np.ndarray, "..."]:
    """Pixels as stored turned by an EXIF orientation from 1 to 8 (EXIF 2.32, 4.6.4.A)."""
    turned = stored.swapaxes(0, 1) if orientation >= 5 else stored
    if orientation in (2, 3, 6, 7):
        turned = turned[:, ::-1]  # not a frame flip: EXIF's rule about stored pixels
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]  # not a frame flip: EXIF's rule about stored pixels
    return np.ascontiguousarray(turned)


def round_to_8(deep: UInt16[np.ndarray, "..."]) -> UInt8[np.ndarray, "..."]:
    """16-bit values as 8 bits: 65535 / 257 = 255, rounded."""
    return ((deep.astype(np.uint32) + 128) // 257).astype(np.uint8)


def srgb_16bit(linear: UInt16[np.ndarray, "height width 3"]) -> UInt16[np.ndarray, "height width 3"]:
    """Linear 16-bit values encoded by the sRGB curve, in 16 bits."""
    table = (srgb_from_linear(torch.arange(65536, dtype=torch.float64) / 65535) * 65535).round().numpy()
    return table.astype(np.uint16)[linear]


def displayed(
    linear: Float32[Tensor, "height width 3"],
) -> tuple[UInt8[np.ndarray, "height width 3"], float, float]:
    """Radiance as an 8-bit sRGB picture for features and masks, the factor it was exposed by, and the share clipped.

    The factor is a whole number of stops, 2**n, so that like photos of one capture get the same one; the brightest
    percent of the lit pixels comes to lie at white.
    """
    luma = luminance(linear).flatten()
    luma = luma[:: max(1, len(luma) // _MAX_SAMPLES)]
    lit = luma[luma > 0].numpy()
    bright = float(np.quantile(lit, _BRIGHTEST)) if len(lit) else 1.0
    factor = 2.0 ** max(-100, min(100, math.floor(-math.log2(bright))))
    clipped = float((linear.amax(-1) * factor > 1).float().mean())
    return (srgb_from_linear(linear * factor) * 255).round().to(torch.uint8).numpy(), factor, clipped


def write_deep(path: Path, pixels: Deep) -> Path:
    """Write a deep picture without loss: 16-bit sRGB as PNG, linear radiance as EXR; returns the path with its suffix.

    Args:
        path: Where to write, without a suffix.
        pixels: As `DecodedPhoto.deep` holds them.

    Raises:
        ResourceError: When the file cannot be written.
    """
    if pixels.dtype == np.uint16:
        written = path.with_name(path.name + ".png")
        write_atomic(written, cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].tobytes())
    else:
        written = path.with_name(path.name + ".exr")
        write_exr(written, {name: torch.from_numpy(pixels[..., k].copy()) for k, name in enumerate("RGB")})
    return written
