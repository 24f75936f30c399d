"""The kernels as differentiable torch functions."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from pipeline.raster.cpu import bands, barycentrics, interpolation, softening
from pipeline.raster.cpu.checks import as_array
from pipeline.raster.cpu.jit import use_torch_threads
from pipeline.raster.cpu.visibility import band_lists
from pipeline.raster.soft import Softness

Faces = NDArray[np.int32]


def row_chunks(numbers: int) -> int:
    """In how many sums a gradient of so many numbers is accumulated; from its size, never from the threads."""
    if numbers <= 2**16:
        return 16
    return 8 if numbers <= 2**18 else 4


def _added_up(parts: NDArray) -> NDArray:
    """Sum (sums, chunks, rows, columns) over the chunks, in a fixed order."""
    if parts.shape[1] == 1:
        return parts[:, 0]
    total = np.empty((parts.shape[0], *parts.shape[2:]), parts.dtype)
    interpolation.add_up(parts, total)
    return total


class Barycentrics(Function):
    """A visible layer's u, v, z/w, id + 1; u and v are differentiable in the clip positions."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch's context takes any attribute
        clip: Float[Tensor, "views vertices 4"],
        drawn: NDArray,
        faces: Faces,
    ) -> Float[Tensor, "views height width 4"]:
        """Pass on what was drawn."""
        rast = torch.from_numpy(drawn)
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
        views, vertices = clip.shape[:2]
        chunks = max(1, row_chunks(vertices * 4) // views)
        grad = np.zeros((views, chunks, vertices, 4), positions.dtype)
        barycentrics.barycentrics_backward(positions, ctx.faces, as_array(rast), as_array(grad_rast), grad)
        return torch.from_numpy(_added_up(grad)), None, None


def _interpolated(
    attributes: Float[Tensor, "vertices channels"], rast: Float[Tensor, "views height width 4"], faces: Faces
) -> Float[Tensor, "views height width channels"]:
    out = np.empty((*rast.shape[:3], attributes.shape[1]), as_array(rast).dtype)
    rows = out.reshape(-1, *out.shape[2:])
    use_torch_threads()
    interpolation.interpolate_rows(as_array(attributes), faces, as_array(rast.flatten(0, 1)), rows)
    return torch.from_numpy(out)


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
        return _interpolated(attributes, rast, faces)

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
            torch.from_numpy(_added_up(sums[None])[0]) if need_attributes else None,
            torch.from_numpy(grad_rast).reshape(rast.shape) if need_rast else None,
            None,
        )


class InterpolateDrawn(Function):
    """`Interpolate` over what was rasterised: differentiable in the clip positions, without a detour over u and v."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        attributes: Float[Tensor, "vertices channels"],
        clip: Float[Tensor, "views positions 4"],
        rast: Float[Tensor, "views height width 4"],
        faces: Faces,
        drawn_faces: Faces,
    ) -> Float[Tensor, "views height width channels"]:
        """Interpolate; zero where empty."""
        ctx.save_for_backward(attributes, clip, rast)
        ctx.faces, ctx.drawn_faces = faces, drawn_faces
        return _interpolated(attributes, rast, faces)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any,  # noqa: ANN401
        grad_out: Float[Tensor, "views height width channels"],
    ) -> tuple[Float[Tensor, "vertices channels"] | None, Float[Tensor, "views positions 4"], None, None, None]:
        """Gradients of the attributes, if they need one, and of the positions."""
        attributes, clip, rast = ctx.saved_tensors
        values, positions = as_array(attributes), as_array(clip)
        views, (count, channels) = len(clip), values.shape
        lanes = row_chunks(max(clip.shape[1] * 4, values.size))
        chunks, tasks = max(1, lanes // views), max(lanes, lanes // views * views)
        grad_clip = np.zeros((views, chunks, *positions.shape[1:]), positions.dtype)
        sums = np.zeros((tasks, count if ctx.needs_input_grad[0] else 0, channels), values.dtype)
        use_torch_threads()
        interpolation.drawn_backward(
            values, ctx.faces, positions, ctx.drawn_faces, as_array(rast), as_array(grad_out), grad_clip, sums
        )
        to_attributes = torch.from_numpy(_added_up(sums[None])[0]) if ctx.needs_input_grad[0] else None
        return to_attributes, torch.from_numpy(_added_up(grad_clip)), None, None, None


class Soften(Function):
    """Soft colour over black and soft coverage; differentiable in the attributes and the clip positions."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        attributes: Float[Tensor, "vertices channels"],
        clip: Float[Tensor, "views vertices 4"],
        faces: Faces,
        size_px: tuple[int, int],
        softness: Softness,
    ) -> tuple[Float[Tensor, "views height width channels"], Float[Tensor, "views height width"]]:
        """Blend the triangles near each pixel."""
        values, positions = as_array(attributes), as_array(clip)
        views, (width, height) = len(positions), size_px
        widths = softness.sigma_px, softness.gamma, softness.reach
        rows = np.empty((views, len(faces), 2), np.int32)
        counts = np.zeros((views, -(-height // bands.BAND_ROWS), bands.CHUNKS), np.int64)
        color = np.empty((views, height, width, values.shape[1]), positions.dtype)
        kept = np.empty((views, height, width, 3), np.float64)
        use_torch_threads()
        softening.count_near(positions, faces, size_px, softness.sigma_px * softness.reach, rows, counts)
        softening.soften(positions, faces, values, rows, *band_lists(rows, counts), widths, kept, color)
        out = torch.from_numpy(color)
        ctx.save_for_backward(attributes, clip, out)
        ctx.faces, ctx.rows, ctx.widths, ctx.kept = faces, rows, widths, kept
        return out, torch.from_numpy((1 - kept[..., softening.THROUGH]).astype(positions.dtype))

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any,  # noqa: ANN401
        grad_color: Float[Tensor, "views height width channels"],
        grad_alpha: Float[Tensor, "views height width"],
    ) -> tuple[Float[Tensor, "vertices channels"], Float[Tensor, "views vertices 4"], None, None, None]:
        """Gradients of both, view by view: the corners' own gradients take room."""
        attributes, clip, color = ctx.saved_tensors
        values, positions = as_array(attributes), as_array(clip)
        to_values, to_positions = np.zeros(values.shape), np.zeros(positions.shape)
        use_torch_threads()
        for view in range(len(positions)):
            scene = positions[view], ctx.faces, values, ctx.rows[view], ctx.widths, ctx.kept[view]
            incoming = as_array(grad_color[view]), as_array(grad_alpha[view])
            parts = np.zeros((len(ctx.faces), 3, 4 + values.shape[1]))
            softening.soften_backward(*scene, as_array(color[view]), *incoming, parts)
            softening.add_corners(parts, ctx.faces, to_positions[view], to_values)
        to_values, to_positions = to_values.astype(values.dtype), to_positions.astype(values.dtype)
        return torch.from_numpy(to_values), torch.from_numpy(to_positions), None, None, None
