"""Analytic antialiasing of silhouettes as a differentiable torch function."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from pipeline.raster.cpu import silhouettes
from pipeline.raster.cpu.checks import as_array
from pipeline.raster.cpu.jit import use_torch_threads


@dataclass(frozen=True, eq=False, kw_only=True)
class Silhouettes:
    """Where silhouette edges cross the lines between neighbouring pixels, in a fixed order.

    Attributes:
        view_ends: Cuts the records by view (views + 1).
        owners: The nearer pixel, row * width + column.
        steps: Towards the other pixel: 0 right, 1 left, 2 down, 3 up.
        ends: The edge's two vertices.
        alphas: Distance of the crossing from the owner's centre, in pixels, minus 1/2.
    """

    view_ends: NDArray[np.int64]
    owners: NDArray[np.int32]
    steps: NDArray[np.int8]
    ends: NDArray[np.int32]
    alphas: NDArray[np.float64]


def find_silhouettes(
    clip: NDArray, mesh: tuple[NDArray[np.int32], NDArray[np.int32]], rast: NDArray, search: int
) -> Silhouettes:
    """Find the silhouettes in a raster of a mesh, which is given as its faces and their neighbours."""
    faces, neighbours = mesh
    views, height, width, _ = rast.shape
    signs = np.empty((views, len(faces)), np.int8)
    silhouettes.find_windings(clip, faces, signs)
    marks = np.zeros((views, 2, height, width), np.uint8)
    silhouettes.mark_silhouettes(clip, faces, neighbours, signs, marks)
    counts = np.empty(views * height, np.int64)
    silhouettes.count_marks(marks, counts)
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    total = int(starts[-1])
    owners, steps = np.empty(total, np.int32), np.empty(total, np.int8)
    ends, alphas = np.empty((total, 2), np.int32), np.empty(total, np.float64)
    silhouettes.find_silhouettes(
        clip, faces, neighbours, signs, rast, marks, search, starts, owners, steps, ends, alphas
    )
    found = np.flatnonzero(steps >= 0)
    return Silhouettes(
        view_ends=np.searchsorted(found, starts[::height]),
        owners=owners[found],
        steps=steps[found],
        ends=ends[found],
        alphas=alphas[found],
    )


class Blend(Function):
    """Blend colours across silhouettes; differentiable in the colours and, through the edges, in the positions."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch's context takes any attribute
        color: Float[Tensor, "views height width channels"],
        clip: Float[Tensor, "views vertices 4"],
        found: Silhouettes,
    ) -> Float[Tensor, "views height width channels"]:
        """Blend."""
        ctx.save_for_backward(color, clip)
        ctx.found = found
        source = as_array(color.flatten(1, 2))
        out = source.copy()
        use_torch_threads()
        silhouettes.blend(source, color.shape[2], found.view_ends, found.owners, found.steps, found.alphas, out)
        return torch.from_numpy(out).reshape(color.shape)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any,  # noqa: ANN401
        grad_out: Float[Tensor, "views height width channels"],
    ) -> tuple[Float[Tensor, "views height width channels"], Float[Tensor, "views vertices 4"], None]:
        """Gradients of both inputs; they come out of one pass."""
        color, clip = ctx.saved_tensors
        found, size = ctx.found, (color.shape[2], color.shape[1])
        incoming = as_array(grad_out.flatten(1, 2))
        grad_color = incoming.copy()
        positions = as_array(clip)
        grad = np.zeros_like(positions)
        use_torch_threads()
        source = as_array(color.flatten(1, 2))
        records = (found.view_ends, found.owners, found.steps, found.ends, found.alphas)
        silhouettes.blend_backward(positions, source, size, *records, incoming, grad_color, grad)
        return torch.from_numpy(grad_color).reshape(color.shape), torch.from_numpy(grad), None
