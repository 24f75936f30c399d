"""Light maps of any program: longitude-latitude pictures in linear RGB."""

from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from pipeline.errors import InputError
from pipeline.formats.exr import read_exr
from pipeline.formats.radiance import read_hdr

_READERS = {".hdr": read_hdr, ".exr": read_exr}


def read_light(path: Path) -> Float[Tensor, "height width 3"]:
    """Read a light map (`.hdr` or `.exr`, by its suffix): linear radiance, row 0 up; `frames.py` says where u = 0 is.

    Raises:
        InputError: When the suffix is another one, the file cannot be read, or it is not twice as wide as high.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        told = f"its suffix {path.suffix}" if path.suffix else "it has no suffix"
        raise InputError(f"{told}: a light map is a .hdr or .exr file", path=path)
    light = reader(path)
    height, width = light.shape[:2]
    if width != 2 * height:
        raise InputError(
            f"{width} x {height} pixels have the ratio {width / height:.2f}:1, a light map 2:1",
            path=path,
            remedy="save it as a longitude-latitude (equirectangular) map",
        )
    return light
