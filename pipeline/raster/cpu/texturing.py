"""Filtered textures as differentiable torch functions."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from pipeline.errors import InputError
from pipeline.raster.cpu import texels
from pipeline.raster.cpu.checks import as_array, check_shape
from pipeline.raster.cpu.jit import thread_count, use_torch_threads
from pipeline.raster.rasterizer import Sampling


@dataclass(frozen=True, eq=False, kw_only=True)
class Plan:
    """What the kernels need besides texels and coordinates.

    Attributes:
        levels: First texel, width and height per level.
        mask: Pixels to sample (rows, width), or (rows, 0) for all.
        mode: Codes of the filter and of what lies beyond the border.
    """

    levels: NDArray[np.int64]
    mask: NDArray[np.bool_]
    mode: tuple[int, int]


def mode_of(sampling: Sampling) -> tuple[int, int]:
    """The kernels' codes."""
    filtering = texels.NEAREST if sampling.filtering == "nearest" else texels.LINEAR
    return filtering, texels.WRAP if sampling.wrap else texels.CLAMP


def rows_of(mask: Bool[Tensor, "views height width"] | None, rows: int) -> NDArray[np.bool_]:
    """A mask as the kernels read it."""
    if mask is None:
        return np.empty((rows, 0), np.bool_)
    return mask.flatten(0, 1).contiguous().numpy()


def _halved(level: Float[Tensor, "faces height width channels"]) -> Float[Tensor, "faces rows columns channels"]:
    """The next coarser level: means of 2 x 2 texels, or of 2 along the only side that is left."""
    if level.shape[1] > 1:
        level = level.unflatten(1, (-1, 2)).mean(2)
    return level.unflatten(2, (-1, 2)).mean(3) if level.shape[2] > 1 else level


def pyramid(
    maps: Float[Tensor, "maps faces height width channels"], max_level: int | None
) -> tuple[Float[Tensor, "maps texels channels"], NDArray[np.int64]]:
    """All levels of a mip pyramid in one array, and the table of their places; differentiable.

    Raises:
        InputError: When a side is odd before `max_level` is reached.
    """
    count, faces = maps.shape[:2]
    level, first = maps.flatten(0, 1), 0
    parts, table = [], []
    while True:
        height, width = level.shape[1:3]
        parts.append(level.reshape(count, -1, level.shape[-1]))
        table.append((first, width, height))
        first += faces * height * width
        if len(table) - 1 == max_level or height == width == 1:
            break
        if any(side > 1 and side % 2 for side in (height, width)):
            if max_level is None:
                break
            raise InputError(
                f"a texture of {maps.shape[3]} x {maps.shape[2]} texels has no mip level {len(table)}",
                remedy=f"use max_level={len(table) - 1} or sides that are multiples of {2**max_level}",
            )
        level = _halved(level)
    return torch.cat(parts, 1) if len(parts) > 1 else parts[0], np.array(table, np.int64)


def level_of_detail(
    derivatives: Float[Tensor, "views height width 2 2"], width: int, height: int
) -> Float[Tensor, "views height width"]:
    """Mip level at which a pixel is one texel: log2 of the larger singular value of d(texel) / d(pixel)."""
    a, b = derivatives[..., 0, 0] * width, derivatives[..., 0, 1] * width
    c, d = derivatives[..., 1, 0] * height, derivatives[..., 1, 1] * height
    total, skew = a * a + b * b + c * c + d * d, a * a + c * c - b * b - d * d
    mixed = 2 * (a * b + c * d)
    # The small numbers keep the gradients of the root and the logarithm finite.
    square = 0.5 * (total + torch.sqrt(skew * skew + mixed * mixed + 1e-30))
    return 0.5 * torch.log2(square.clamp_min(1e-12))


def cube_coordinates(
    directions: Float[Tensor, "views height width 3"], derivatives: Float[Tensor, "views height width 3 2"] | None
) -> tuple[Float[Tensor, "views height width 3"], Float[Tensor, "views height width 2 2"] | None]:
    """The (s, t, face) that directions hit on a cube, and the screen derivatives of s and t."""
    axis = directions.detach().abs().argmax(-1)
    negative = directions.detach().gather(-1, axis[..., None])[..., 0] < 0
    face = 2 * axis + negative
    axes = torch.from_numpy(texels.CUBE_AXES).to(directions.dtype)[face]
    local = (axes @ directions[..., None])[..., 0]
    forward = torch.where(local[..., 2:] > 0, local[..., 2:], torch.ones_like(local[..., 2:]))
    st = local[..., :2] / forward
    coordinates = torch.cat([0.5 * (st + 1), face[..., None].to(directions.dtype)], -1)
    if derivatives is None:
        return coordinates, None
    change = axes @ derivatives
    return coordinates, 0.5 * (change[..., :2, :] - st[..., None] * change[..., 2:, :]) / forward[..., None]


class Sample(Function):
    """Filter a pyramid; differentiable in the texels, the coordinates and the level."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch's context takes any attribute
        flat: Float[Tensor, "maps texels channels"],
        coordinates: Float[Tensor, "views height width axes"],
        lods: Float[Tensor, "views height columns"],
        plan: Plan,
    ) -> Float[Tensor, "views height width channels"]:
        """Sample; zero outside the mask."""
        ctx.save_for_backward(flat, coordinates, lods)
        ctx.plan = plan
        values, where = as_array(flat), as_array(coordinates.flatten(0, 1))
        out = np.empty((*where.shape[:2], values.shape[2]), values.dtype)
        use_torch_threads()
        texels.sample(values, plan.levels, where, as_array(lods.flatten(0, 1)), plan.mask, plan.mode, out)
        return torch.from_numpy(out).unflatten(0, coordinates.shape[:2])

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any,  # noqa: ANN401
        grad_out: Float[Tensor, "views height width channels"],
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        """Gradients of the inputs that need one."""
        flat, coordinates, lods = ctx.saved_tensors
        plan: Plan = ctx.plan
        incoming, where = as_array(grad_out.flatten(0, 1)), as_array(coordinates.flatten(0, 1))
        detail = as_array(lods.flatten(0, 1))
        grad_flat = grad_where = grad_lods = None
        use_torch_threads()
        if ctx.needs_input_grad[0]:
            grad_flat = torch.zeros_like(flat, memory_format=torch.contiguous_format)
            args = (plan.levels, where, detail, plan.mask, plan.mode, incoming)
            texels.sample_backward_map(*args, thread_count(), grad_flat.numpy())
        if any(ctx.needs_input_grad[1:3]):
            grad_where, grad_lods = (
                torch.zeros_like(x, memory_format=torch.contiguous_format) for x in (coordinates, lods)
            )
            grads = grad_where.flatten(0, 1).numpy(), grad_lods.flatten(0, 1).numpy()
            args = (plan.levels, where, detail, plan.mask, plan.mode, incoming)
            texels.sample_backward_coordinates(as_array(flat), *args, *grads)
        return grad_flat, grad_where, grad_lods, None


def sample_maps(
    maps: Float[Tensor, "maps faces rows columns channels"],
    coordinates: Float[Tensor, "views height width axes"],
    derivatives: Float[Tensor, "views height width 2 2"] | None,
    mask: Bool[Tensor, "views height width"] | None,
    sampling: Sampling,
) -> Float[Tensor, "views height width channels"]:
    """Read flat (one face) or cube maps (six); see `CpuRasterizer.texture`."""
    views, height = coordinates.shape[:2]
    if len(maps) not in (1, views):
        raise InputError(f"{len(maps)} textures for {views} views", remedy="pass one texture, or one per view")
    if mask is not None:
        check_shape("the mask", mask.shape, coordinates.shape[:3])
    if derivatives is not None:
        check_shape("the derivatives", derivatives.shape[:3], coordinates.shape[:3])
    mip = sampling.filtering == "mip"
    if mip and derivatives is None:
        raise InputError("mip levels need screen derivatives", remedy="rasterize with derivatives=True and pass them")
    flat, levels = pyramid(maps, sampling.max_level if mip else 0)
    lods = flat.new_empty(views, height, 0)
    if mip and derivatives is not None:
        lods = level_of_detail(derivatives.to(flat.dtype), maps.shape[3], maps.shape[2]).clamp(0, len(levels) - 1)
    plan = Plan(levels=levels, mask=rows_of(mask, views * height), mode=mode_of(sampling))
    return Sample.apply(flat, coordinates.to(flat.dtype), lods, plan)
