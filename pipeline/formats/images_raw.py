"""A camera's RAW files, developed by LibRaw through the optional rawpy."""

import contextlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt16
from PIL import ExifTags, Image

from pipeline.errors import InputError
from pipeline.formats.images_deep import srgb_16bit
from pipeline.formats.images_pillow import DECODE_ERRORS, check_pixels, exif_tags
from pipeline.formats.native import native_messages_dropped
from pipeline.formats.signatures import TIFF_MAGICS

_ORIENTATION_OF_FLIP = {0: 1, 3: 3, 5: 8, 6: 6}  # LibRaw's flips: none, 180 degrees, 90 left, 90 right


@dataclass(frozen=True, eq=False, kw_only=True)
class RawPhoto:
    """A developed RAW file.

    Attributes:
        deep: sRGB, 16 bits, upright, white-balanced as the camera did, at the exposure that was shot.
        tags: EXIF by number.
        orientation: EXIF's, by which LibRaw turned it.
    """

    deep: UInt16[np.ndarray, "height width 3"]
    tags: dict[int, object]
    orientation: int


def develop(data: bytes, path: Path) -> RawPhoto:
    """Develop a RAW file: camera white balance, no brightening, sRGB primaries, 16 bits, turned once.

    Raises:
        InputError: When rawpy is not installed, or LibRaw cannot read the file.
    """
    with _opened(data, path) as (rawpy, raw):
        check_pixels(raw.sizes.width, raw.sizes.height, path)
        tags = _exif(data, raw, rawpy.LibRawError)
        linear = raw.postprocess(
            use_camera_wb=True,
            no_auto_bright=True,
            output_color=rawpy.ColorSpace.sRGB,
            output_bps=16,
            gamma=(1, 1),  # the curve is color.py's
        )
        orientation = _ORIENTATION_OF_FLIP.get(raw.sizes.flip, 1)
    linear = linear.repeat(3, -1) if linear.shape[2] == 1 else linear  # a sensor without colour
    return RawPhoto(deep=srgb_16bit(linear), tags=tags, orientation=orientation)


def raw_size(data: bytes, path: Path) -> tuple[int, int]:
    """Width and height of a RAW file once developed and turned; errors as in `develop`."""
    with _opened(data, path) as (_, raw):
        sizes = raw.sizes
        return (sizes.iheight, sizes.iwidth) if sizes.flip >= 5 else (sizes.iwidth, sizes.iheight)


@contextlib.contextmanager
def _opened(data: bytes, path: Path) -> Iterator[tuple[Any, Any]]:
    try:
        import rawpy
    except ImportError as error:
        raise InputError("RAW files need an extra library", path=path, remedy="pip install recon-pbr[raw]") from error
    try:
        with native_messages_dropped(), rawpy.imread(io.BytesIO(data)) as raw:
            yield rawpy, raw
    except (rawpy.LibRawError, rawpy.NotSupportedError) as error:
        told = " ".join(str(error.args[0] if error.args else error).split()).removeprefix("b'").rstrip("'")
        raise InputError(f"corrupt data: LibRaw cannot develop it: {told}", path=path) from error


def _exif(data: bytes, raw: Any, raw_error: type[Exception]) -> dict[int, object]:  # noqa: ANN401  # rawpy is untyped
    """EXIF tags: of a TIFF-like file itself, else of the preview inside, else what LibRaw found."""
    if data.startswith(TIFF_MAGICS):
        exif = Image.Exif()
        with contextlib.suppress(*DECODE_ERRORS), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exif.load(b"Exif\0\0" + data)
            return {**exif, **exif.get_ifd(ExifTags.IFD.Exif)}
    with contextlib.suppress(raw_error, *DECODE_ERRORS):
        thumb = raw.extract_thumb()
        if isinstance(thumb.data, bytes):
            return exif_tags(Image.open(io.BytesIO(thumb.data), formats=("JPEG",)))[0]
    return {ExifTags.Base.FocalLength.value: float(raw.other.focal_length)}
