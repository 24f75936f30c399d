"""Radiance RGBE pictures (`.hdr`): linear light maps that every renderer reads.

Greg Ward, "Real Pixels", Graphics Gems II, 1991: three mantissas share the exponent of the brightest channel.
"""

import re
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from pipeline.errors import InputError
from pipeline.formats.files import read_regular, write_atomic

MAX_PIXELS = 250_000_000
_HEADER = re.compile(rb"#\?[^\n]*\n(?:[^\n]+\n)*\n-Y (\d{1,9}) \+X (\d{1,9})\n")


def write_hdr(path: Path, linear: Float[Tensor, "height width 3"]) -> None:
    """Write linear RGB as an RGBE picture, row 0 on top; the error is at most 1/256 of the pixel's largest channel.

    The lines are flat: a largest mantissa is 128 or more, so no pixel looks like the mark of a coded line.

    Raises:
        InputError: When a value is not finite, negative or above 1e38.
    """
    rgb = linear.detach().cpu().double().numpy()
    if not (rgb.min() >= 0 and rgb.max() < 1e38):
        raise InputError(f"radiance from {rgb.min():.3g} to {rgb.max():.3g} is not within 0 and 1e38", path=path)
    largest = rgb.max(axis=2)
    _, exponent = np.frexp(largest)
    # A mantissa that would round up to 256 belongs to the next exponent.
    exponent += np.rint(np.ldexp(largest, 8 - exponent)) > 255
    dark = (largest <= 0) | (exponent < -127)
    mantissa = np.rint(np.ldexp(rgb, 8 - exponent[..., None]))
    rgbe = np.concatenate([mantissa, exponent[..., None] + 128.0], axis=2)
    rgbe = np.where(dark[..., None], 0, np.minimum(rgbe, 255)).astype(np.uint8)
    header = f"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y {rgb.shape[0]} +X {rgb.shape[1]}\n"
    write_atomic(path, header.encode() + rgbe.tobytes())


def read_hdr(path: Path) -> Float[Tensor, "height width 3"]:
    """Read linear RGB from a Radiance RGBE picture, flat or with adaptive run-length coding, row 0 on top.

    Raises:
        InputError: When the file is no such picture, too large, truncated or damaged.
    """
    return decode_hdr(read_regular(path, max_bytes=2**31), path)


def decode_hdr(data: bytes, path: Path) -> Float[Tensor, "height width 3"]:
    """As `read_hdr`, from the bytes of `path`."""
    width, height, start = _header(data, path)
    body = data[start:]
    coded = 8 <= width < 32768 and body[:2] == b"\x02\x02" and len(body) > 2 and body[2] < 128
    rgbe = _decode_rle(body, height, width, path) if coded else _decode_flat(body, height, width, path)
    # ldexp(mantissa, e - 136): no half is added, so that black stays black and our own files read back exactly.
    rgb = np.ldexp(rgbe[..., :3].astype(np.float32), rgbe[..., 3:].astype(np.int32) - 136)
    return torch.from_numpy(np.where(rgbe[..., 3:] == 0, np.float32(0), rgb))


def hdr_size(data: bytes, path: Path) -> tuple[int, int]:
    """Width and height of a Radiance RGBE picture, from its header; errors as in `read_hdr`."""
    return _header(data, path)[:2]


def _header(data: bytes, path: Path) -> tuple[int, int, int]:
    """Width, height, and where the pixels begin."""
    head = _HEADER.match(data[:65536])
    if head is None or b"XYZE" in head.group():
        raise InputError("not a Radiance RGBE picture with its top row first", path=path)
    height, width = int(head.group(1)), int(head.group(2))
    if not 0 < height * width <= MAX_PIXELS:
        raise InputError(f"{height * width / 1e6:.0f} megapixels, limit {MAX_PIXELS / 1e6:.0f}", path=path)
    return width, height, head.end()


def _decode_flat(body: bytes, height: int, width: int, path: Path) -> UInt8[np.ndarray, "height width 4"]:
    if len(body) < height * width * 4:
        raise InputError(f"truncated: {len(body)} of {height * width * 4} bytes of pixels", path=path)
    return np.frombuffer(body, np.uint8, height * width * 4).reshape(height, width, 4)


def _decode_rle(body: bytes, height: int, width: int, path: Path) -> UInt8[np.ndarray, "height width 4"]:
    out, at = bytearray(), 0
    for row in range(height):
        if body[at : at + 4] != bytes([2, 2, width >> 8, width & 255]):
            raise InputError(f"damaged at row {row} of {height}", path=path)
        at += 4
        for channel in range(4):
            end = (4 * row + channel + 1) * width
            at = _decode_channel(body, at, end, out)
            if len(out) != end:
                raise InputError(f"truncated or damaged at row {row} of {height}", path=path)
    planes = np.frombuffer(bytes(out), np.uint8).reshape(height, 4, width)
    return np.ascontiguousarray(planes.transpose(0, 2, 1))


def _decode_channel(body: bytes, at: int, end: int, out: bytearray) -> int:
    """Append runs to `out` until it holds `end` bytes; returns the next position. Damage leaves a wrong length."""
    while len(out) < end and at + 1 < len(body):
        count = body[at]
        if count > 128:
            out += body[at + 1 : at + 2] * min(count - 128, end + 1 - len(out))
            at += 2
        else:
            out += body[at + 1 : at + 1 + count]
            at += 1 + count
            if count == 0:
                break
    return at
