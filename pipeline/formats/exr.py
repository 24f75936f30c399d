"""OpenEXR pictures: linear light maps of other programs, and float maps that 8 bits cannot hold."""

import io
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import OpenEXR
import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.errors import InputError
from pipeline.formats.files import read_regular, write_atomic
from pipeline.formats.native import native_messages_dropped
from pipeline.formats.radiance import MAX_PIXELS

_REMEDY = "save it as one flat picture with the channels R, G and B"


def read_exr(path: Path) -> Float[Tensor, "height width 3"]:
    """Read linear RGB (taken as Rec. 709) from an OpenEXR picture, row 0 on top; a lone Y is grey, alpha is ignored.

    Scan lines and tiles are read alike. Negative radiance, which filters and colour conversions leave behind,
    becomes 0.

    Raises:
        InputError: When the file is no such picture, truncated or damaged, too large, cropped, of several parts,
            has other channels, or holds a value that is not finite.
    """
    return decode_exr(read_regular(path, max_bytes=2**31), path)[0]


def decode_exr(data: bytes, path: Path) -> tuple[Float[Tensor, "height width 3"], Float[Tensor, "height width"] | None]:
    """As `read_exr`, from the bytes of `path`, and the alpha channel A if there is one."""
    header = _open(data, path, header_only=True)
    _check_header(header, path)
    channels = _open(data, path, header_only=False).channels()
    names = ("R", "G", "B") if "R" in channels else ("Y", "Y", "Y")
    pixels = np.stack([channels[name].pixels.astype(np.float32) for name in names], -1)
    if not np.isfinite(pixels).all():
        count = int((~np.isfinite(pixels)).any(-1).sum())
        raise InputError(f"{count} of {pixels[..., 0].size} pixels are infinite or no numbers", path=path)
    linear = torch.from_numpy(np.maximum(pixels, 0))
    if "A" not in channels or channels["A"].pixels.shape != pixels.shape[:2]:  # of every second pixel
        return linear, None
    return linear, torch.from_numpy(channels["A"].pixels.astype(np.float32))


def read_exr_channels(path: Path, names: Sequence[str]) -> dict[str, Float[Tensor, "height width"]]:
    """Read channels of a flat OpenEXR picture by their names, as they are, row 0 on top.

    Raises:
        InputError: When the file is no such picture, truncated or damaged, too large, or lacks one of the channels.
    """
    data = read_regular(path, max_bytes=2**31)
    _check_size(_open(data, path, header_only=True), path)
    channels = _open(data, path, header_only=False).channels()
    if missing := [name for name in names if name not in channels]:
        raise InputError(f"has no channel {missing[0]}, only {', '.join(channels)}", path=path)
    return {name: torch.from_numpy(channels[name].pixels.astype(np.float32)) for name in names}


def exr_size(data: bytes, path: Path) -> tuple[int, int]:
    """Width and height of an OpenEXR picture, from its header; errors as in `read_exr`."""
    file = _open(data, path, header_only=True)
    _check_header(file, path)
    low, high = file.header()["dataWindow"]
    return int(high[0] - low[0] + 1), int(high[1] - low[1] + 1)


def write_exr(path: Path, channels: Mapping[str, Float[Tensor, "height width"]]) -> None:
    """Write float32 channels by name (`R`, `G`, `B`; `Z` for depth), row 0 on top, without loss.

    Raises:
        ResourceError: When the file cannot be written.
    """
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    planes = {name: np.ascontiguousarray(plane.detach().cpu().float().numpy()) for name, plane in channels.items()}
    with tempfile.TemporaryDirectory() as folder:  # the library writes to names only
        whole = Path(folder) / "whole.exr"
        OpenEXR.File(header, planes).write(str(whole))
        write_atomic(path, whole.read_bytes())


def _open(data: bytes, path: Path, *, header_only: bool) -> OpenEXR.File:
    try:
        with native_messages_dropped():
            file = OpenEXR.File(io.BytesIO(data), separate_channels=True, header_only=header_only)
    except (RuntimeError, ValueError) as error:  # all that it raised on 1,200 damaged files
        raise InputError("not an OpenEXR picture, or a damaged one", path=path) from error
    if not file.parts:  # the library tells of unreadable pixels by leaving their part out
        raise InputError("truncated or damaged OpenEXR picture", path=path)
    return file


def _check_size(file: OpenEXR.File, path: Path) -> None:
    low, high = (np.asarray(corner, np.int64) for corner in file.header()["dataWindow"])
    width, height = (int(side) for side in high - low + 1)
    if not 0 < width * height <= MAX_PIXELS:
        raise InputError(f"{width * height / 1e6:.0f} megapixels, limit {MAX_PIXELS / 1e6:.0f}", path=path)


def _check_header(file: OpenEXR.File, path: Path) -> None:
    """Refuse what is too large or no flat RGB picture, before any pixel is decoded."""
    _check_size(file, path)
    header = file.header()
    if len(file.parts) > 1:
        raise InputError(f"holds {len(file.parts)} parts, one can be read", path=path, remedy=_REMEDY)
    if header["type"] not in (OpenEXR.scanlineimage, OpenEXR.tiledimage):
        raise InputError("is a deep picture", path=path, remedy=_REMEDY)
    if not np.array_equal(header["dataWindow"], header["displayWindow"]):
        raise InputError("is cropped: its data window is not its display window", path=path, remedy=_REMEDY)
    sampling = {channel.name: (channel.xSampling, channel.ySampling) for channel in header["channels"]}
    colors = {"R", "G", "B"} if "R" in sampling else {"Y"}
    coded = {"RY", "X"} & sampling.keys()  # luminance with chroma, or CIE XYZ
    if coded or not colors <= sampling.keys() or any(sampling[c] != (1, 1) for c in colors):
        raise InputError(f"holds the channels {', '.join(sampling)}", path=path, remedy=_REMEDY)
