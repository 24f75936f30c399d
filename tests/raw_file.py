"""A camera's RAW file as small as one can be: an uncompressed DNG with a Bayer pattern."""

import struct

import numpy as np

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 10: 8}


def dng(mosaic: np.ndarray, *, orientation: int = 1, neutral: tuple[float, float, float] = (1, 1, 1)) -> bytes:
    """A DNG 1.4 of 16-bit RGGB values (white 65535) of a camera whose primaries are sRGB's.

    Args:
        mosaic: (H, W) uint16.
        orientation: EXIF's.
        neutral: What the camera's channels said of white (AsShotNeutral).
    """
    height, width = mosaic.shape
    xyz_to_srgb = [3.2406, -1.5372, -0.4986, -0.9689, 1.8758, 0.0415, 0.0557, -0.2040, 1.0570]
    exif = [(0x920A, 5, (8.8,)), (0xA405, 3, (24,))]
    tags = [
        (254, 4, (0,)),
        (256, 4, (width,)),
        (257, 4, (height,)),
        (258, 3, (16,)),
        (259, 3, (1,)),
        (262, 3, (32803,)),
        (271, 2, b"Maker\0"),
        (272, 2, b"Model\0"),
        (273, 4, (0,)),
        (274, 3, (orientation,)),
        (277, 3, (1,)),
        (278, 4, (height,)),
        (279, 4, (mosaic.nbytes,)),
        (33421, 3, (2, 2)),
        (33422, 1, (0, 1, 1, 2)),
        (34665, 4, (0,)),
        (50706, 1, (1, 4, 0, 0)),
        (50708, 2, b"Maker Model\0"),
        (50714, 3, (0,)),
        (50717, 4, (65535,)),
        (50721, 10, xyz_to_srgb),
        (50728, 5, neutral),
        (50778, 3, (21,)),
    ]
    exif_at = 8 + len(_directory(tags, 8))
    pixels_at = exif_at + len(_directory(exif, exif_at))
    places = {273: (pixels_at,), 34665: (exif_at,)}
    tags = [(tag, kind, places.get(tag, value)) for tag, kind, value in tags]
    return b"II*\0\x08\0\0\0" + _directory(tags, 8) + _directory(exif, exif_at) + mosaic.astype("<u2").tobytes()


def _directory(tags: list, start: int) -> bytes:
    """A directory of TIFF tags, and behind it the values that do not fit into it."""
    entries, values = struct.pack("<H", len(tags)), b""
    values_at = start + 2 + 12 * len(tags) + 4
    for tag, kind, value in tags:
        packed = _packed(kind, value)
        entries += struct.pack("<HHI", tag, kind, len(packed) // _SIZES[kind])
        if len(packed) <= 4:
            entries += packed.ljust(4, b"\0")
        else:
            entries += struct.pack("<I", values_at + len(values))
            values += packed + b"\0" * (len(packed) % 2)
    return entries + bytes(4) + values


def _packed(kind: int, value: tuple | bytes) -> bytes:
    if isinstance(value, bytes):
        return value
    if kind in (5, 10):
        return b"".join(struct.pack("<ii", round(v * 10000), 10000) for v in value)
    return b"".join(struct.pack("<" + {1: "B", 3: "H", 4: "I"}[kind], v) for v in value)
