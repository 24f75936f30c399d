"""What the first bytes of a picture say about it, read without decoding a pixel and without heavy imports.

A header can promise any number of pixels in a few bytes; whoever means to decode a file asks here first.
"""

import contextlib
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, Image

from pipeline.errors import InputError
from pipeline.formats.files import open_regular

# All that Pillow's parsers were seen to raise on damaged headers.
_HEADER_ERRORS = (OSError, SyntaxError, ValueError, TypeError, LookupError, RuntimeError, EOFError, struct.error)


@dataclass(frozen=True, kw_only=True)
class Header:
    """A picture's header.

    Attributes:
        kind: Pillow's name of the format.
        width: Width in pixels, as stored.
        height: Height in pixels, as stored.
        orientation: EXIF's, 1 to 8; 1 when it is absent or nonsense.
        odd_orientation: What the tag says in place of 1 to 8, or none.
    """

    kind: str
    width: int
    height: int
    orientation: int
    odd_orientation: str | None

    @property
    def turned(self) -> bool:
        """Whether width and height change places when the picture is turned upright."""
        return self.orientation >= 5


def read_header(path: Path, *, max_bytes: int, max_pixels: int, max_frames: int) -> Header | None:
    """The header of a picture, or none for one that Pillow alone does not know (HEIC, RAW, EXR, no picture).

    Raises:
        InputError: When the file cannot be opened, is empty, no regular file, or beyond one of the limits.
    """
    Image.MAX_IMAGE_PIXELS = None  # the limit is ours, and checked here
    with open_regular(path, max_bytes=max_bytes) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = Image.open(file)
            width, height = image.size
        except _HEADER_ERRORS:
            return None
        if width * height > max_pixels:
            raise InputError(
                f"{width} x {height} = {width * height / 1e6:,.0f} megapixels, limit {max_pixels / 1e6:,.0f}", path=path
            )
        tag = _orientation_tag(image)
        if _has_frames(image, max_frames + 1):
            raise InputError(
                f"more than {max_frames} frames", path=path, remedy="a film is read with --video; else save one frame"
            )
    orientation = tag if isinstance(tag, int) and 1 <= tag <= 8 else 1
    if image.format == "TIFF" and orientation >= 5:  # whose size Pillow turns by itself
        width, height = height, width
    odd = None if tag == orientation else str(tag)[:20]
    return Header(kind=image.format or "", width=width, height=height, orientation=orientation, odd_orientation=odd)


def _orientation_tag(image: Image.Image) -> object:
    """EXIF's orientation as it stands in the file, or 1; decodes no pixels, as `getexif` of a PNG would."""
    with contextlib.suppress(*_HEADER_ERRORS):
        if image.format != "PNG":
            return image.getexif().get(ExifTags.Base.Orientation, 1)
        exif = Image.Exif()
        exif.load(image.info.get("exif", b""))
        return exif.get(ExifTags.Base.Orientation, 1)
    return 1


def _has_frames(image: Image.Image, count: int) -> bool:
    """Whether the picture has at least `count` frames; counting all of them could take for ever."""
    if not getattr(image, "is_animated", False):
        return False
    try:
        for index in range(1, count):
            image.seek(index)
    except _HEADER_ERRORS:
        return False
    return True
