"""What the rasteriser refuses at its door."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import InputError, ResourceError
from pipeline.raster.rasterizer import Raster

MAX_TRIANGLES = 2**24
MAX_SIDE_PX = 32768


def checked_faces(faces: Int[Tensor, "faces 3"], vertices: int) -> NDArray[np.int32]:
    """Vertex indices as the kernels read them.

    Raises:
        ResourceError: More triangles than a float32 id can tell apart.
        InputError: An index outside the vertices.
    """
    check_shape("a face", faces.shape[1:], (3,))
    if len(faces) > MAX_TRIANGLES:
        raise ResourceError(
            f"{len(faces)} triangles, the rasteriser counts to {MAX_TRIANGLES}", remedy="decimate or split the mesh"
        )
    if len(faces):
        low, high = (int(x) for x in torch.aminmax(faces))
        if low < 0 or high >= vertices:
            raise InputError(
                f"faces index vertices {low} to {high}, there are {vertices}", remedy="check the mesh's indices"
            )
    return faces.detach().to(torch.int32).contiguous().numpy()


def check_size(size_px: tuple[int, int]) -> None:
    """Raise `InputError` for an image (width, height) that is empty or too large."""
    if not all(1 <= side <= MAX_SIDE_PX for side in size_px):
        raise InputError(f"image of {size_px[0]} x {size_px[1]} px, each side may be 1 to {MAX_SIDE_PX}")


def as_array(tensor: Float[Tensor, "..."]) -> NDArray:
    """A contiguous numpy view of a float32 or float64 tensor on the CPU (copied only if strided).

    Raises:
        InputError: Another device or type.
    """
    if tensor.device.type != "cpu" or tensor.dtype not in (torch.float32, torch.float64):
        raise InputError(
            f"the cpu rasteriser got a {tensor.dtype} tensor on {tensor.device}", remedy="pass float32 on the cpu"
        )
    return tensor.detach().contiguous().numpy()


def check_shape(what: str, shape: Sequence[int], wanted: Sequence[int]) -> None:
    """Raise `InputError` unless two arrays that go together are of one size: the kernels do not look again."""
    if tuple(shape) != tuple(wanted):
        raise InputError(f"{what} has the shape {tuple(shape)}, expected {tuple(wanted)}")


def check_ids(raster: Raster, faces: int) -> None:
    """Raise `InputError` when a raster shows, or was drawn from, more triangles than there are."""
    if raster.faces is not None:
        shown = len(raster.faces)
    else:
        shown = int(raster.rast[..., 3].detach().max()) if raster.rast.numel() else 0
    if shown > faces:
        raise InputError(
            f"the raster shows triangles up to {shown - 1}, there are {faces} faces",
            remedy="pass the faces that were rasterised, or as many uv faces",
        )
