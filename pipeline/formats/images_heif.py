"""HEIC and HEIF pictures, as phones write them, through the optional pillow-heif.

The container says how a picture is turned, and the library turns it; an EXIF orientation inside repeats that and is
not to be applied (ISO/IEC 23008-12, A.2).
"""

import io
from pathlib import Path

import numpy as np
from jaxtyping import UInt16

from pipeline.errors import InputError


def register(path: Path) -> None:
    """Let Pillow open HEIF pictures.

    Raises:
        InputError: About `path`, with the command that installs what is missing.
    """
    try:
        import pillow_heif
    except ImportError as error:
        raise InputError(
            "HEIC and HEIF pictures need an extra library", path=path, remedy="pip install recon-pbr[heic]"
        ) from error
    pillow_heif.register_heif_opener()


def read_deep(data: bytes) -> UInt16[np.ndarray, "height width 3"]:
    """All bits of a picture of 10 or 12 bits a channel, spread to 16, upright, in its own colour space."""
    import pillow_heif

    picture = pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False)
    bits = int(picture.info["bit_depth"])
    wide = np.asarray(picture)[..., :3].astype(np.uint32) >> (16 - bits)  # the library shifts values up to 16 bits
    return np.asarray((wide << (16 - bits)) | (wide >> (2 * bits - 16)), np.uint16)
