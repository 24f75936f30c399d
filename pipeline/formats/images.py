"""Photos, masks and texture images: the only module that decodes or encodes pictures.

Every picture is decoded in full, from the bytes of a regular file, by Pillow: it is the one decoder that
notices truncated and damaged files. Row 0 is on top.
"""

import io
import struct
import warnings
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8
from PIL import ExifTags, Image, ImageCms
from torch import Tensor

from pipeline.color import luminance
from pipeline.errors import InputError
from pipeline.formats.exif import camera_label, focal_from_exif
from pipeline.formats.files import read_regular, write_atomic
from pipeline.formats.radiance import read_hdr, write_hdr

__all__ = [
    "DecodedPhoto",
    "decode_photo",
    "decode_texture",
    "encode_jpeg",
    "encode_png",
    "image_size",
    "read_hdr",
    "read_image",
    "read_mask",
    "read_texture",
    "write_hdr",
    "write_jpeg",
    "write_mask",
    "write_png",
]

MAX_PIXELS = 250_000_000
MAX_FILE_BYTES = 2**31
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "AVIF")

# Our own limit is checked on the header, before any pixel is decoded.
Image.MAX_IMAGE_PIXELS = None

# All that Pillow's decoders were seen to raise on 6,000 damaged files, and the kin of those classes.
_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    RuntimeError,
    LookupError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
)
_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"}
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112


@dataclass(frozen=True, eq=False, kw_only=True)
class DecodedPhoto:
    """A photo as every stage sees it.

    Attributes:
        rgb: sRGB, upright.
        alpha: Opacity (straight, not premultiplied), or none when the photo is opaque everywhere.
        focal_px: Focal length from EXIF in pixels, or none when absent or not to be trusted.
        camera_label: Make, model, focal length and size.
        already_clean: The file itself is an 8-bit RGB JPEG or PNG, upright, opaque and sRGB: a byte for byte
            copy of it means the same pixels to every reader.
        notes: What had to be converted or ignored, for the report.
    """

    rgb: UInt8[np.ndarray, "height width 3"]
    alpha: UInt8[np.ndarray, "height width"] | None
    focal_px: float | None
    camera_label: str
    already_clean: bool
    notes: tuple[str, ...] = ()


def decode_photo(path: Path) -> DecodedPhoto:
    """Decode a JPEG, PNG, WebP, TIFF or AVIF photo to 8-bit sRGB, with its EXIF orientation applied once.

    16-bit channels are rounded to 8 bits; palettes, grey and CMYK become RGB; a colour profile other than
    sRGB is converted (perceptual intent). The content counts, not the file's extension.

    Raises:
        InputError: When the file is no regular file, no picture, truncated, damaged or larger than the limits.
    """
    picture = _decode(read_regular(path, max_bytes=MAX_FILE_BYTES), path)
    image, orientation, notes = picture.image, picture.orientation, list(picture.notes)
    srgb, alpha = _rgb_and_alpha(picture)
    converted = _converted_to_srgb(image, srgb, notes)
    rgb = np.asarray(_upright(converted or srgb, orientation))
    opacity = None if alpha is None else np.asarray(_upright(alpha, orientation))
    height, width = rgb.shape[:2]
    plain = image.format in ("JPEG", "PNG") and image.mode == "RGB" and picture.frames == 1
    return DecodedPhoto(
        rgb=rgb,
        alpha=None if opacity is None or opacity.min() == 255 else opacity,
        focal_px=focal_from_exif(picture.tags, width=width, height=height),
        camera_label=camera_label(picture.tags, width=width, height=height),
        already_clean=plain and not (picture.deep_data or converted or alpha or orientation in _UPRIGHT),
        notes=tuple(notes),
    )


def image_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels of an upright picture, read from its header alone."""
    picture = _decode(read_regular(path, max_bytes=MAX_FILE_BYTES), path, header_only=True)
    width, height = picture.image.size
    # Pillow's TIFF reader reports the upright size.
    turned = picture.image.format != "TIFF" and picture.orientation >= 5
    return (height, width) if turned else (width, height)


def read_image(path: Path) -> UInt8[np.ndarray, "height width 3"]:
    """An 8-bit sRGB picture, upright, without its alpha; errors as in `decode_photo`."""
    return decode_photo(path).rgb


def read_mask(path: Path) -> Float[Tensor, "height width"]:
    """Coverage in [0, 1] of a mask picture, upright: its alpha where that varies, else its luminance.

    Colour profiles are ignored: a mask is data.

    Raises:
        InputError: As in `decode_photo`.
    """
    picture = _decode(read_regular(path, max_bytes=MAX_FILE_BYTES), path)
    rgb, alpha = _rgb_and_alpha(picture)
    if alpha is not None and np.ptp(np.asarray(alpha)) > 0:
        return torch.tensor(np.asarray(_upright(alpha, picture.orientation)), dtype=torch.float32) / 255
    levels = torch.tensor(np.asarray(_upright(rgb, picture.orientation)), dtype=torch.float32)
    return (luminance(levels) / 255).clamp(0, 1)


def decode_texture(data: bytes, path: Path) -> UInt8[np.ndarray, "height width 3"]:
    """The RGB values of a picture inside another file, as stored: no colour conversion, no turning (glTF 2.0, 3.8).

    Raises:
        InputError: As in `decode_photo`; `path` names the file around it.
    """
    return np.asarray(_rgb_and_alpha(_decode(data, path))[0])


def read_texture(path: Path) -> UInt8[np.ndarray, "height width 3"]:
    """The RGB values of a texture picture as stored, like those inside a glTF file; errors as in `decode_photo`."""
    return decode_texture(read_regular(path, max_bytes=MAX_FILE_BYTES), path)


def write_png(path: Path, image: UInt8[np.ndarray, "height width *channels"]) -> None:
    """Write grey, RGB or RGBA (straight alpha) as PNG: the same pixels give the same bytes."""
    write_atomic(path, encode_png(image))


def write_mask(path: Path, mask: Float[Tensor, "height width"]) -> None:
    """Write coverage in [0, 1] as an 8-bit grey PNG."""
    write_png(path, (mask.detach().cpu().float().clamp(0, 1) * 255).round().to(torch.uint8).numpy())


def write_jpeg(path: Path, image: UInt8[np.ndarray, "height width 3"], *, quality: int) -> None:
    """Write RGB as JPEG with full colour resolution (4:4:4); `quality` from 1 to 100."""
    write_atomic(path, encode_jpeg(image, quality=quality))


def encode_png(image: UInt8[np.ndarray, "height width *channels"]) -> bytes:
    """Grey, RGB or RGBA pixels as the bytes of a PNG file without metadata."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def encode_jpeg(image: UInt8[np.ndarray, "height width 3"], *, quality: int) -> bytes:
    """RGB pixels as the bytes of a JPEG file with full colour resolution (4:4:4) and no metadata."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


@dataclass(frozen=True, eq=False, kw_only=True)
class _Picture:
    """A decoded file: Pillow's image as stored, the file itself if it has 16-bit channels, and what its tags say."""

    image: Image.Image
    deep_data: bytes | None
    frames: int
    tags: dict[int, object]
    orientation: int
    notes: list[str] = field(default_factory=list)


def _decode(data: bytes, path: Path, *, header_only: bool = False) -> _Picture:
    """Decode a picture in full (or its header alone), and say about `path` what is wrong with it if that fails."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            _check_header(image, path)
            deep = _is_deep(image)
            frames = getattr(image, "n_frames", 1)
            tags, notes = _exif_tags(image)
            if not header_only:
                image.load()
            # Asked again after loading: for TIFF, Pillow has by then turned the pixels and dropped the tag.
            orientation = _exif_tags(image)[0].get(_ORIENTATION, 1)
    except Image.UnidentifiedImageError as error:
        kind = _kind_of(data)
        remedy = "convert it to JPEG or PNG" if "picture" in kind else None
        raise InputError(f"not an image that can be read ({kind})", path=path, remedy=remedy) from error
    except _DECODE_ERRORS as error:
        raise InputError(f"truncated or damaged picture: {error}", path=path) from error
    orientation = orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1
    notes += [f"first of {frames} frames"] if frames > 1 else []
    notes += [f"turned upright (orientation {orientation})"] if orientation in _UPRIGHT else []
    notes += ["16 bits a channel rounded to 8"] if deep else []
    deep_data = data if deep else None
    return _Picture(image=image, deep_data=deep_data, frames=frames, tags=tags, orientation=orientation, notes=notes)


def _check_header(image: Image.Image, path: Path) -> None:
    """Refuse what is too large or has no agreed meaning as a photo, before any pixel is decoded."""
    width, height = image.size
    if image.mode not in _MODES and not image.mode.startswith("I;16"):
        kind = {"I": "32-bit", "F": "32-bit"}.get(image.mode, image.mode)
        raise InputError(f"{kind} pixels cannot be read", path=path, remedy="save it as RGB with 8 or 16 bits")
    if not 0 < width * height <= MAX_PIXELS:
        raise InputError(
            f"{width} x {height} = {width * height / 1e6:.0f} megapixels, limit {MAX_PIXELS / 1e6:.0f}", path=path
        )


def _kind_of(data: bytes) -> str:
    """What a file that is no readable picture seems to be, for the error message."""
    head = data[:512].lstrip().lower()
    if data[4:8] == b"ftyp":
        return "a HEIC or HEIF picture" if data[8:12] in (b"heic", b"heix", b"mif1", b"heim") else "a video"
    if head.startswith((b"<!doctype html", b"<html")):
        return "text/html"
    if data[:4] == b"%PDF" or data[:2] == b"PK":
        return "a document or archive"
    if data[:3] == b"\xff\xd8\xff" or data[:8] == b"\x89PNG\r\n\x1a\n":
        return "a picture with a damaged header"
    return "text" if all(byte >= 32 or byte in b"\t\r\n\f" for byte in data[:512]) else "unknown content"


def _exif_tags(image: Image.Image) -> tuple[dict[int, object], list[str]]:
    """All EXIF tags by number, and a note when the block is damaged."""
    try:
        exif = image.getexif()
        return {**exif, **exif.get_ifd(ExifTags.IFD.Exif)}, []
    except _DECODE_ERRORS:
        return {}, ["damaged EXIF block ignored"]


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _is_deep(image: Image.Image) -> bool:
    """Whether the file holds 16-bit channels, which Pillow cuts to 8 bits. Loading clears the answer."""
    return image.mode.startswith("I;16") or any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))


def _converted_to_srgb(image: Image.Image, rgb: Image.Image, notes: list[str]) -> Image.Image | None:
    """The picture converted from its colour profile to sRGB, or none when it is sRGB already; adds to `notes`."""
    notes += ["grey, no colour"] if _source_mode(image) == "L" else []
    notes += ["CMYK converted to RGB"] if image.mode == "CMYK" else []
    icc = image.info.get("icc_profile")
    if not icc:
        return None
    try:
        converted, name = _convert_profile(image, rgb, icc)
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        notes.append("unusable colour profile ignored")
        return None
    notes += [f"converted to sRGB from {name}"] if converted else []
    return converted


def _source_mode(image: Image.Image) -> str:
    """The colour model that a profile inside the picture has to describe."""
    if image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I;16"):
        return "L"
    return "CMYK" if image.mode == "CMYK" else "RGB"


def _convert_profile(image: Image.Image, rgb: Image.Image, icc: bytes) -> tuple[Image.Image | None, str]:
    """The picture converted from its profile to sRGB, or none when the profile is sRGB, and the profile's name."""
    source = _source_mode(image)
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    name = " ".join(ImageCms.getProfileDescription(profile).split())[:64]
    to_srgb = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), source, "RGB")
    if source == "RGB" and _is_identity(to_srgb):
        return None, name
    return ImageCms.applyTransform(image if source == "CMYK" else rgb.convert(source), to_srgb), name


def _is_identity(to_srgb: ImageCms.ImageCmsTransform) -> bool:
    """Whether a transform of 8-bit RGB moves no colour of a 9 x 9 x 9 cube by more than 2 levels."""
    axis = np.linspace(0, 255, 9).round().astype(np.uint8)
    cube = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(27, 27, 3)
    moved = ImageCms.applyTransform(Image.fromarray(cube), to_srgb)
    return bool(np.abs(np.asarray(moved).astype(int) - cube).max() <= 2)


def _rgb_and_alpha(picture: _Picture) -> tuple[Image.Image, Image.Image | None]:
    """The picture as 8-bit RGB, and its alpha if it has one."""
    image = picture.image
    if image.mode.startswith("I;16"):
        return Image.fromarray(_round_to_8(np.asarray(image))).convert("RGB"), None
    has_alpha = image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info
    shallow = image.convert("RGBA" if has_alpha else "RGB")
    if picture.deep_data is not None:
        shallow = _rounded(picture.deep_data, shallow)
    return shallow.convert("RGB"), shallow.getchannel("A") if has_alpha else None


def _rounded(deep_data: bytes, shallow: Image.Image) -> Image.Image:
    """Replace cut 16-bit values by rounded ones from OpenCV, where both decoders agree on the picture."""
    deep = cv2.imdecode(np.frombuffer(deep_data, np.uint8), cv2.IMREAD_UNCHANGED)
    if deep is None or deep.dtype != np.uint16 or deep.ndim != 3:
        return shallow
    code = cv2.COLOR_BGRA2RGBA if deep.shape[2] == 4 else cv2.COLOR_BGR2RGB
    rounded = _round_to_8(cv2.cvtColor(deep, code))
    cut = np.asarray(shallow)
    if rounded.shape != cut.shape or np.abs(rounded.astype(int) - cut).max() > 1:
        return shallow
    return Image.fromarray(rounded)


def _round_to_8(deep: Shaped[np.ndarray, "..."]) -> UInt8[np.ndarray, "..."]:
    """16-bit values as 8 bits: 65535 / 257 = 255, rounded."""
    return ((deep.astype(np.uint32) + 128) // 257).astype(np.uint8)
