"""Colour profiles inside pictures: everything becomes sRGB, at 8 bits by Little CMS, at 16 bits by our own code.

Pillow hands no 16-bit RGB to Little CMS. What such pictures carry, a matrix and tone curves (ICC.1:2022, 8.3.3 and
8.4.3), is evaluated here, and taken only where Little CMS agrees at 8 bits.
"""

import io
import struct
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, UInt8, UInt16
from PIL import Image, ImageCms

from pipeline.color import srgb_from_linear

Rgb8 = UInt8[np.ndarray, "height width 3"]
Rgb16 = UInt16[np.ndarray, "height width 3"]

_TOLERANCE = 2  # levels of 255
_ROWS = 256  # converted at once


def to_srgb(image: Image.Image, rgb: Rgb8, deep: Rgb16 | None, notes: list[str]) -> tuple[Rgb8, Rgb16 | None, bool]:
    """A picture converted from its colour profile to sRGB, and whether there was anything to convert.

    Args:
        image: The picture as stored, with its profile.
        rgb: Its pixels in 8 bits, in the profile's colours.
        deep: The same in 16 bits, or none.
        notes: What is done is noted here.

    Returns:
        8 bits, 16 bits (none where the profile cannot be applied to them), and whether anything was converted.
    """
    source = _source_mode(image)
    notes += ["grey, no colour"] if source == "L" else []
    notes += ["CMYK converted to RGB"] if image.mode == "CMYK" else []
    icc = image.info.get("icc_profile")
    if not icc:
        return rgb, deep, False
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        name = " ".join(ImageCms.getProfileDescription(profile).split())[:64]
        by_lcms = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), source, "RGB")
        if source == "RGB" and _moves(_applied(by_lcms, source), lambda colors: colors) <= _TOLERANCE:
            return rgb, deep, False
        shallow = np.asarray(ImageCms.applyTransform(image, by_lcms)) if source == "CMYK" else None
        converted = _applied(by_lcms, source)(rgb) if shallow is None or shallow.shape != rgb.shape else shallow
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        notes.append("unusable colour profile ignored")
        return rgb, deep, False
    notes.append(f"converted to sRGB from {name}")
    if deep is None:
        return converted, None, True
    own = _matrix_transform(icc, grey=source == "L")
    if own is None or _moves(_applied(by_lcms, source), _at_8_bits(own), grey=source == "L") > _TOLERANCE:
        notes.append("16 bits a channel rounded to 8, as its colour profile is no matrix with curves")
        return converted, None, True
    rows = range(0, len(deep), _ROWS)
    deep = np.concatenate([own(deep[at : at + _ROWS]) for at in rows])
    return _round_to_8(deep), deep, True


def _source_mode(image: Image.Image) -> str:
    """The colour model that a profile inside the picture has to describe."""
    if image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I;16"):
        return "L"
    return "CMYK" if image.mode == "CMYK" else "RGB"


def _applied(transform: ImageCms.ImageCmsTransform, source: str) -> Callable[[Rgb8], Rgb8]:
    mode = "L" if source == "L" else "RGB"
    return lambda rgb: np.asarray(ImageCms.applyTransform(Image.fromarray(rgb).convert(mode), transform))


def _moves(first: Callable[[Rgb8], Rgb8], second: Callable[[Rgb8], Rgb8], *, grey: bool = False) -> int:
    """By how many of 255 levels two conversions differ at most, over a 9 x 9 x 9 cube of colours or its greys."""
    axis = np.linspace(0, 255, 9).round().astype(np.uint8)
    cube = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(27, 27, 3)
    colors = np.stack([np.arange(256, dtype=np.uint8)[None]] * 3, -1) if grey else cube
    return int(np.abs(first(colors).astype(int) - second(colors)).max())


def _at_8_bits(transform: Callable[[Rgb16], Rgb16]) -> Callable[[Rgb8], Rgb8]:
    return lambda rgb: _round_to_8(transform(rgb.astype(np.uint16) * 257))


def _round_to_8(deep: Rgb16) -> Rgb8:
    return ((deep.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _matrix_transform(icc: bytes, *, grey: bool) -> Callable[[Rgb16], Rgb16] | None:
    """The conversion to sRGB of a profile made of a matrix and curves, or none for one made of tables."""
    ours = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    try:
        tags, srgb = _tags(icc), _tags(ours)
        curves = [_curve(tags[name]) for name in ((b"kTRC",) * 3 if grey else (b"rTRC", b"gTRC", b"bTRC"))]
        to_srgb = np.eye(3) if grey else np.linalg.solve(_matrix(srgb), _matrix(tags))
    except (KeyError, IndexError, struct.error, ValueError, np.linalg.LinAlgError):
        return None

    def convert(deep: Rgb16) -> Rgb16:
        linear = np.stack([curve[deep[..., k]] for k, curve in enumerate(curves)], -1) @ to_srgb.T
        encoded = srgb_from_linear(torch.from_numpy(linear.astype(np.float32)))
        return np.asarray((encoded * 65535).round().numpy(), np.uint16)

    return convert


def _tags(icc: bytes) -> dict[bytes, bytes]:
    """The elements of a profile by signature (7.3)."""
    count = struct.unpack_from(">I", icc, 128)[0]
    entries = [struct.unpack_from(">4sII", icc, 132 + 12 * k) for k in range(min(count, 100))]
    return {name: icc[at : at + size] for name, at, size in entries}


def _matrix(tags: dict[bytes, bytes]) -> Float[np.ndarray, "3 3"]:
    """CIE XYZ (D50) of the three primaries, as columns."""
    columns = [struct.unpack_from(">3i", tags[name], 8) for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
    return np.array(columns, np.float64).T / 65536


def _curve(element: bytes) -> Float[np.ndarray, "65536"]:
    """A tone curve at all 16-bit values (10.6 and 10.18)."""
    x = np.linspace(0, 1, 65536)
    if element[:4] == b"curv":
        count = struct.unpack_from(">I", element, 8)[0]
        if count == 0:
            return x
        values = np.frombuffer(element, ">u2", count, 12)
        return x ** (values[0] / 256) if count == 1 else np.interp(x, np.linspace(0, 1, count), values / 65535)
    kind = struct.unpack_from(">H", element, 8)[0]
    if element[:4] != b"para" or kind > 4:
        raise ValueError(f"no tone curve: {element[:4]!r}")
    count = (1, 3, 4, 5, 7)[kind]
    given = [value / 65536 for value in struct.unpack_from(f">{count}i", element, 12)]
    g, a, b, c, d, e, f = given + [1.0, 0.0, 0.0, 0.0, 0.0, 0.0][count - 1 :]
    offset, split = (c, -b / a) if kind in (1, 2) else (e, d)
    slope, foot = (0.0, c) if kind in (1, 2) else (c, f)
    curve = np.maximum(a * x + b, 0) ** g + offset
    return np.clip(curve if kind == 0 else np.where(x >= split, curve, slope * x + foot), 0, 1)
