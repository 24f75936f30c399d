"""The kernels as differentiable torch functions."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from pipeline.raster.cpu import barycentrics, interpolation
from pipeline.raster.cpu.checks import as_array
from pipeline.raster.cpu.jit import use_torch_threads
from pipeline.raster.cpu.visibility import Layer, project_points, resolve_layer

Faces = NDArray[np.int32]


def row_chunks(numbers: int) -> int:
    """In how many sums a gradient of so many numbers is accumulated; from its size, never from the threads."""
    if numbers <= 2**16:
        return 16
    return 8 if numbers <= 2**18 else 4


class Resolve(Function):
    """Barycentrics of a visible layer; u and v are differentiable in the clip positions."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch's context takes any attribute
        clip: Float[Tensor, "views vertices 4"],
        layer: Layer,
        faces: Faces,
    ) -> Float[Tensor, "views height width 4"]:
        """Resolve u, v, z/w, id + 1."""
        rast = torch.from_numpy(resolve_layer(layer, faces, as_array(clip).dtype))
        ctx.save_for_backward(clip, rast)
        ctx.faces = faces
        return rast

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any,  # noqa: ANN401
        grad_rast: Float[Tensor, "views height width 4"],
    ) -> tuple[Float[Tensor, "views vertices 4"], None, None]:
        """Gradient of u and v; z/w and the id have none."""
        clip, rast = ctx.saved_tensors
        use_torch_threads()
        positions = as_array(clip)
        points = project_points(positions, (rast.shape[2], rast.shape[1]))
        views, vertices = clip.shape[:2]
        chunks = max(1, row_chunks(vertices * 4) // views)
        grad = np.zeros((views, chunks, vertices, 4), positions.dtype)
        barycentrics.barycentrics_backward(points, ctx.faces, as_array(rast), as_array(grad_rast), grad)
        return torch.from_numpy(grad.sum(1)), None, None


class Interpolate(Function):
    """Attributes at pixels, differentiable in the attributes and in u and v."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        attributes: Float[Tensor, "vertices channels"],
        rast: Float[Tensor, "views height width 4"],
        faces: Faces,
    ) -> Float[Tensor, "views height width channels"]:
        """Interpolate; zero where empty."""
        ctx.save_for_backward(attributes, rast)
        ctx.faces = faces
        out = np.empty((*rast.shape[:3], attributes.shape[1]), as_array(rast).dtype)
        rows = out.reshape(-1, *out.shape[2:])
        use_torch_threads()
        interpolation.interpolate_rows(as_array(attributes), faces, as_array(rast.flatten(0, 1)), rows)
        return torch.from_numpy(out)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any,  # noqa: ANN401
        grad_out: Float[Tensor, "views height width channels"],
    ) -> tuple[Float[Tensor, "vertices channels"] | None, Float[Tensor, "views height width 4"] | None, None]:
        """Gradients of the inputs that need one."""
        attributes, rast = ctx.saved_tensors
        need_attributes, need_rast, _ = ctx.needs_input_grad
        values, rows = as_array(attributes), as_array(rast.flatten(0, 1))
        sums = np.zeros((row_chunks(values.size), len(values) if need_attributes else 0, values.shape[1]), values.dtype)
        grad_rast = np.zeros((len(rows), rows.shape[1] if need_rast else 0, 4), values.dtype)
        use_torch_threads()
        interpolation.interpolate_backward(values, ctx.faces, rows, as_array(grad_out.flatten(0, 1)), grad_rast, sums)
        return (
            torch.from_numpy(sums.sum(0)) if need_attributes else None,
            torch.from_numpy(grad_rast).reshape(rast.shape) if need_rast else None,
            None,
        )
