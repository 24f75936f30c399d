"""Photos, masks and texture images: the only way by which pictures come in and go out.

Every picture is decoded in full, from the bytes of a regular file. Row 0 is on top.
"""

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8, UInt16
from PIL import Image
from torch import Tensor

from pipeline.color import linear_from_srgb, luminance
from pipeline.formats import images_raw
from pipeline.formats.exif import Focal, camera_label, exposure_from_exif, focal_from_exif
from pipeline.formats.exr import decode_exr, exr_size
from pipeline.formats.files import read_regular, write_atomic
from pipeline.formats.images_deep import Deep, deep_channels, displayed, round_to_8, write_deep
from pipeline.formats.images_pillow import Picture, decode, rgb_and_alpha
from pipeline.formats.images_profile import to_srgb
from pipeline.formats.radiance import decode_hdr, hdr_size, read_hdr, write_hdr
from pipeline.formats.signatures import EXR_MAGIC, HDR_MAGICS, holds_raw

__all__ = [
    "DecodedPhoto",
    "decode_photo",
    "decode_texture",
    "encode_jpeg",
    "encode_png",
    "image_size",
    "read_deep",
    "read_hdr",
    "read_image",
    "read_linear",
    "read_mask",
    "read_texture",
    "write_deep",
    "write_hdr",
    "write_jpeg",
    "write_mask",
    "write_png",
]

MAX_FILE_BYTES = 2**31
STRIP_ROWS = 256  # what is computed at a time where the whole of a large photo would need gigabytes


@dataclass(frozen=True, eq=False, kw_only=True)
class DecodedPhoto:
    """A photo as every stage sees it.

    Attributes:
        rgb: sRGB, upright. Of radiance, what it looks like at `exposure`: for features and masks.
        deep: The same picture with all that the file held: sRGB of 16 bits, or linear radiance (Rec. 709, unexposed,
            may exceed 1); none when `rgb` is all. Upright.
        alpha: Opacity (straight, not premultiplied), or none when the photo is opaque everywhere.
        focal_px: Focal length from EXIF in pixels, or none when absent or not to be trusted.
        focal_suspect: Whether EXIF gives a focal length that is not to be trusted, as the photo was cropped or zoomed.
        focal_hint_px: What a suspect focal length would be if no more was cropped than the photo's shape tells: a
            weak start, too short where more was cropped.
        camera_label: Make, model, focal length and size.
        exif_exposure: Seconds times ISO over the f-number's square, or none when EXIF does not tell.
        already_clean: The file itself is an 8-bit RGB JPEG or PNG, upright, opaque and sRGB: a byte for byte
            copy of it means the same pixels to every reader.
        orientation: EXIF's, 1 to 8: how the stored pixels were turned.
        stored_size: Width and height in pixels before turning.
        exposure: Factor on the radiance before `rgb` was encoded; 1 for any other photo.
        notes: What had to be converted or ignored, for the report.
    """

    rgb: UInt8[np.ndarray, "height width 3"]
    deep: UInt16[np.ndarray, "height width 3"] | Float32[np.ndarray, "height width 3"] | None = None
    alpha: UInt8[np.ndarray, "height width"] | None
    focal_px: float | None
    focal_suspect: bool = False
    focal_hint_px: float | None = None
    camera_label: str
    exif_exposure: float | None = None
    already_clean: bool
    orientation: int = 1
    stored_size: tuple[int, int]
    exposure: float = 1.0
    notes: tuple[str, ...] = ()


def decode_photo(path: Path) -> DecodedPhoto:
    """Decode a photo to 8-bit sRGB, and to what more the file holds, with its EXIF orientation applied once.

    JPEG, PNG, WebP, TIFF, AVIF, GIF, EXR and Radiance HDR; HEIC and RAW where their libraries are installed. Palettes,
    grey and CMYK become RGB; a colour profile other than sRGB is converted (perceptual intent). The content counts,
    not the file's extension.

    Raises:
        InputError: When the file is no regular file, no picture, truncated, damaged or larger than the limits.
    """
    data = read_regular(path, max_bytes=MAX_FILE_BYTES)
    if data.startswith((EXR_MAGIC, *HDR_MAGICS)):
        return _radiance_photo(data, path)
    if holds_raw(data, path.suffix):
        return _raw_photo(data, path)
    return _pillow_photo(decode(data, path))


def _radiance_photo(data: bytes, path: Path) -> DecodedPhoto:
    linear, alpha = decode_exr(data, path) if data.startswith(EXR_MAGIC) else (decode_hdr(data, path), None)
    rgb, exposure, clipped = displayed(linear)
    height, width = rgb.shape[:2]
    opacity = None if alpha is None else (alpha.nan_to_num().clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    return DecodedPhoto(
        rgb=rgb,
        deep=linear.numpy(),
        alpha=_unless_opaque(opacity),
        focal_px=None,
        camera_label=f"{width}x{height}",
        already_clean=False,
        stored_size=(width, height),
        exposure=exposure,
        notes=(f"linear radiance, for matching shown at {math.log2(exposure):+.0f} EV with {clipped:.1%} clipped",),
    )


def _raw_photo(data: bytes, path: Path) -> DecodedPhoto:
    developed = images_raw.develop(data, path)
    height, width = developed.deep.shape[:2]
    focal = focal_from_exif(developed.tags, width=width, height=height)
    notes = ["RAW developed to 16 bits with the camera's white balance"]
    notes += [f"turned upright (orientation {developed.orientation})"] if developed.orientation > 1 else []
    return DecodedPhoto(
        rgb=round_to_8(developed.deep),
        deep=developed.deep,
        alpha=None,
        **_focal_fields(focal),
        camera_label=camera_label(developed.tags, width=width, height=height),
        exif_exposure=exposure_from_exif(developed.tags),
        already_clean=False,
        orientation=developed.orientation,
        stored_size=(height, width) if developed.orientation >= 5 else (width, height),
        notes=(*notes, *focal.notes),
    )


def _pillow_photo(picture: Picture) -> DecodedPhoto:
    image, notes = picture.image, list(picture.notes)
    found = _channels(picture)
    if picture.deep_data is not None and found.deep_rgb is None:
        notes.append("more than 8 bits a channel cut to 8: no decoder reads them")
    rgb, rgb16, converted = to_srgb(image, found.rgb, found.deep_rgb, notes)
    height, width = rgb.shape[:2]
    focal = focal_from_exif(picture.tags, width=width, height=height)
    plain = image.format in ("JPEG", "PNG") and image.mode == "RGB" and picture.frames == 1 and found.alpha is None
    return DecodedPhoto(
        rgb=rgb,
        deep=rgb16,
        alpha=_unless_opaque(found.alpha),
        **_focal_fields(focal),
        camera_label=camera_label(picture.tags, width=width, height=height),
        exif_exposure=exposure_from_exif(picture.tags),
        already_clean=plain and not (picture.deep_data or converted or picture.orientation > 1),
        orientation=picture.orientation,
        stored_size=(height, width) if picture.orientation >= 5 else (width, height),
        notes=(*notes, *focal.notes),
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class _Channels:
    """A picture upright: rounded to 8 bits, and with all bits of a deeper one."""

    rgb: UInt8[np.ndarray, "height width 3"]
    alpha: UInt8[np.ndarray, "height width"] | None
    deep_rgb: UInt16[np.ndarray, "height width 3"] | None = None
    deep_alpha: UInt16[np.ndarray, "height width"] | None = None


def _channels(picture: Picture) -> _Channels:
    colors, opacity = rgb_and_alpha(picture)
    rgb = np.asarray(picture.upright(colors))
    alpha = None if opacity is None else np.asarray(picture.upright(opacity))
    deep = deep_channels(picture, rgb, alpha)
    if deep is None:
        return _Channels(rgb=rgb, alpha=alpha)
    return _Channels(
        rgb=round_to_8(deep[0]),
        alpha=None if deep[1] is None else round_to_8(deep[1]),
        deep_rgb=deep[0],
        deep_alpha=deep[1],
    )


def _focal_fields(focal: Focal) -> dict[str, Any]:
    return {"focal_px": focal.px, "focal_suspect": focal.suspect, "focal_hint_px": focal.hint_px}


def _unless_opaque(alpha: UInt8[np.ndarray, "height width"] | None) -> UInt8[np.ndarray, "height width"] | None:
    return None if alpha is None or alpha.min() == 255 else alpha


def image_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels of an upright picture, read from its header alone; errors as in `decode_photo`."""
    data = read_regular(path, max_bytes=MAX_FILE_BYTES)
    if data.startswith(EXR_MAGIC):
        return exr_size(data, path)
    if data.startswith(HDR_MAGICS):
        return hdr_size(data, path)
    if holds_raw(data, path.suffix):
        return images_raw.raw_size(data, path)
    picture = decode(data, path, header_only=True)
    width, height = picture.image.size
    return (height, width) if picture.orientation >= 5 and not picture.turned else (width, height)


def read_image(path: Path) -> UInt8[np.ndarray, "height width 3"]:
    """An 8-bit sRGB picture, upright, without its alpha; errors as in `decode_photo`."""
    return decode_photo(path).rgb


def read_deep(path: Path) -> UInt8[np.ndarray, "height width 3"] | Deep:
    """A picture with all that its file holds: sRGB of 8 or 16 bits, or linear radiance; errors as in `decode_photo`."""
    photo = decode_photo(path)
    return photo.rgb if photo.deep is None else photo.deep


def read_linear(path: Path) -> Float32[np.ndarray, "height width 3"]:
    """A picture as linear RGB: up to 1 from sRGB of 8 or 16 bits, unclipped radiance; errors as in `decode_photo`."""
    pixels = read_deep(path)
    if pixels.dtype == np.float32:
        return pixels
    most = np.iinfo(pixels.dtype).max  # a table of the levels needs a fifth of the memory that a formula would
    levels = linear_from_srgb(torch.arange(most + 1, dtype=torch.float32) / most).numpy()
    linear = np.empty(pixels.shape, np.float32)
    for row in range(0, len(pixels), STRIP_ROWS):  # an index takes eight bytes a value
        linear[row : row + STRIP_ROWS] = levels[pixels[row : row + STRIP_ROWS]]
    return linear


def read_mask(path: Path) -> Float[Tensor, "height width"]:
    """Coverage in [0, 1] of a mask picture, upright: its alpha where that varies, else its luminance.

    Colour profiles are ignored: a mask is data.

    Raises:
        InputError: As in `decode_photo`.
    """
    found = _channels(decode(read_regular(path, max_bytes=MAX_FILE_BYTES), path))
    if found.alpha is not None and np.ptp(found.alpha) > 0:
        return _coverage(found.alpha if found.deep_alpha is None else found.deep_alpha)
    levels = found.rgb if found.deep_rgb is None else found.deep_rgb
    strips = (levels[row : row + STRIP_ROWS] for row in range(0, len(levels), STRIP_ROWS))
    return torch.cat([luminance(_coverage(strip)).clamp(0, 1) for strip in strips])


def _coverage(levels: UInt8[np.ndarray, "..."] | UInt16[np.ndarray, "..."]) -> Float[Tensor, "..."]:
    return torch.from_numpy(levels / np.float32(np.iinfo(levels.dtype).max))


def decode_texture(data: bytes, path: Path) -> UInt8[np.ndarray, "height width 3"]:
    """The RGB values of a picture inside another file, as stored: no colour conversion, no turning (glTF 2.0, 3.8).

    Raises:
        InputError: As in `decode_photo`; `path` names the file around it.
    """
    return np.asarray(rgb_and_alpha(decode(data, path))[0])


def read_texture(path: Path) -> UInt8[np.ndarray, "height width 3"]:
    """The RGB values of a texture picture as stored, like those inside a glTF file; errors as in `decode_photo`."""
    return decode_texture(read_regular(path, max_bytes=MAX_FILE_BYTES), path)


def write_png(path: Path, image: UInt8[np.ndarray, "height width *channels"], *, compress_level: int = 6) -> None:
    """Write grey, RGB or RGBA (straight alpha) as PNG: the same pixels give the same bytes.

    Level 1 of zlib's takes a quarter of the time of 6, and makes photos a tenth larger.
    """
    write_atomic(path, encode_png(image, compress_level=compress_level))


def write_mask(path: Path, mask: Float[Tensor, "height width"]) -> None:
    """Write coverage in [0, 1] as an 8-bit grey PNG."""
    write_png(path, (mask.detach().cpu().float().clamp(0, 1) * 255).round().to(torch.uint8).numpy())


def write_jpeg(path: Path, image: UInt8[np.ndarray, "height width 3"], *, quality: int) -> None:
    """Write RGB as JPEG with full colour resolution (4:4:4); `quality` from 1 to 100."""
    write_atomic(path, encode_jpeg(image, quality=quality))


def encode_png(image: UInt8[np.ndarray, "height width *channels"], *, compress_level: int = 6) -> bytes:
    """Grey, RGB or RGBA pixels as the bytes of a PNG file without metadata."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "PNG", compress_level=compress_level)
    return buffer.getvalue()


def encode_jpeg(image: UInt8[np.ndarray, "height width 3"], *, quality: int) -> bytes:
    """RGB pixels as the bytes of a JPEG file with full colour resolution (4:4:4) and no metadata."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()
