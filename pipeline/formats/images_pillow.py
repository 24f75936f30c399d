"""Pictures that Pillow decodes: the one decoder that notices truncated and damaged files."""

import io
import struct
import warnings
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from pipeline.errors import InputError
from pipeline.formats import images_heif
from pipeline.formats.signatures import MAX_SCANS, damaged_at, holds_heif, kind_of, scan_count, truncated_at

MAX_PIXELS = 250_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "AVIF", "GIF")

# Our own limit is checked on the header, before any pixel is decoded.
Image.MAX_IMAGE_PIXELS = None

# All that Pillow's decoders were seen to raise on 6,000 damaged files, and the kin of those classes.
DECODE_ERRORS = (
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
_COPY = "copy it from the camera again"
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


@dataclass(frozen=True, eq=False, kw_only=True)
class Picture:
    """A decoded file.

    Attributes:
        image: Pillow's image; turned already if `turned`.
        deep_data: The file itself if it has channels of more than 8 bits, which Pillow cuts.
        frames: How many pictures the file holds; the first (of HEIF, the primary one) is read.
        tags: EXIF by number.
        orientation: EXIF's, 1 to 8.
        turned: Whether `image` is upright already, as Pillow's TIFF reader leaves it.
        notes: What was found odd.
    """

    image: Image.Image
    deep_data: bytes | None
    frames: int
    tags: dict[int, object]
    orientation: int
    turned: bool
    notes: list[str] = field(default_factory=list)

    def upright(self, image: Image.Image) -> Image.Image:
        """A picture of the file turned upright."""
        turn = self.orientation in _UPRIGHT and not self.turned
        return image.transpose(_UPRIGHT[self.orientation]) if turn else image


def decode(data: bytes, path: Path, *, header_only: bool = False) -> Picture:
    """Decode a picture in full (or its header alone).

    Raises:
        InputError: When the bytes are no picture that Pillow reads, truncated, damaged or too large; about `path`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            heif = holds_heif(data)
            if heif:
                images_heif.register(path)
            image = Image.open(io.BytesIO(data), formats=("HEIF",) if heif else FORMATS)
            _check_header(image, data, path)
            deep = _is_deep(image)
            frames = getattr(image, "n_frames", 1)
            tags, notes = exif_tags(image)
            orientation = 1 if heif else tags.get(ExifTags.Base.Orientation, 1)
            if not header_only:
                if (at := damaged_at(data)) is not None:
                    raise InputError(f"corrupt data at byte {at}", path=path, remedy=_COPY)
                image.load()
    except Image.UnidentifiedImageError as error:
        if holds_heif(data):
            raise InputError("corrupt data: a truncated or damaged HEIC picture", path=path, remedy=_COPY) from error
        kind = kind_of(data)
        remedy = "convert it to JPEG or PNG" if "picture" in kind else None
        raise InputError(f"not an image ({kind})", path=path, remedy=remedy) from error
    except DECODE_ERRORS as error:
        raise _fault(data, error, path) from error
    if not isinstance(orientation, int) or not 1 <= orientation <= 8:
        notes.append(f"EXIF orientation {str(orientation)[:20]} is none of 1 to 8 and taken as 1")
        orientation = 1
    notes += [f"first of {frames} frames"] if frames > 1 else []
    notes += [f"turned upright (orientation {orientation})"] if orientation > 1 else []
    return Picture(
        image=image,
        deep_data=data if deep else None,
        frames=frames,
        tags=tags,
        orientation=orientation,
        turned=image.format == "TIFF",
        notes=notes,
    )


def exif_tags(image: Image.Image) -> tuple[dict[int, object], list[str]]:
    """All EXIF tags by number, and a note when the block is damaged."""
    try:
        exif = image.getexif()
        return {**exif, **exif.get_ifd(ExifTags.IFD.Exif)}, []
    except DECODE_ERRORS:
        return {}, ["damaged EXIF block ignored"]


def rgb_and_alpha(picture: Picture) -> tuple[Image.Image, Image.Image | None]:
    """The picture as stored in 8-bit RGB, 16 bits cut, and its alpha if it has one."""
    image = picture.image
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB"), None
    has_alpha = image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info
    if not has_alpha:
        return image if image.mode == "RGB" else image.convert("RGB"), None  # a large one is not copied for nothing
    shallow = image.convert("RGBA")
    return shallow.convert("RGB"), shallow.getchannel("A")


def _check_header(image: Image.Image, data: bytes, path: Path) -> None:
    """Refuse what is too large or has no agreed meaning as a photo, before any pixel is decoded."""
    width, height = image.size
    if image.mode not in _MODES and not image.mode.startswith("I;16"):
        kind = {"I": "32-bit", "F": "32-bit"}.get(image.mode, image.mode)
        raise InputError(f"{kind} pixels cannot be read", path=path, remedy="save it as RGB with 8 or 16 bits, or EXR")
    check_pixels(width, height, path)
    if (scans := scan_count(data)) > MAX_SCANS:
        raise InputError(f"{scans} or more scans in one JPEG, limit {MAX_SCANS}", path=path, remedy="save it anew")


def check_pixels(width: int, height: int, path: Path) -> None:
    """Refuse a picture without pixels, or with more than the limit.

    Raises:
        InputError: With the number and the limit.
    """
    if not 0 < width * height <= MAX_PIXELS:
        raise InputError(
            f"{width} x {height} = {width * height / 1e6:.0f} megapixels, limit {MAX_PIXELS / 1e6:.0f}", path=path
        )


def _is_deep(image: Image.Image) -> bool:
    """Whether the file holds channels of more than 8 bits, which Pillow cuts. Loading clears the answer."""
    wide = any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))
    return image.mode.startswith("I;16") or wide or image.info.get("bit_depth", 8) > 8


def _fault(data: bytes, error: Exception, path: Path) -> InputError:
    """What to say of a picture that does not decode."""
    end = truncated_at(data)
    told = " ".join(str(error).split()) or type(error).__name__
    if end is not None:
        return InputError(f"truncated at byte {end}", path=path, remedy=_COPY)
    if "truncated" in told:
        return InputError(f"truncated or damaged picture: {told}", path=path)
    return InputError(f"corrupt data: damaged picture: {told}", path=path)
