"""Weighted sums of table rows: every look-up of a texture, a light or a vertex value comes down to this.

torch's embedding_bag says the same and serves other devices, but on the CPU its backward pass sorts the indices
and takes a hundred times as long.
"""

from typing import no_type_check

import numba
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.raster.cpu.jit import use_torch_threads

_CHUNKS = 8  # sums of a gradient, fixed so that the bits do not depend on the threads


def weighted_rows(
    table: Float[Tensor, "rows channels"],
    index: Int[Tensor, "points corners"],
    weights: Float[Tensor, "points corners"],
) -> Float[Tensor, "points channels"]:
    """For each point the sum of `table[index] * weights`; differentiable in table and weights, in float32."""
    if table.device.type != "cpu" or table.dtype != torch.float32:
        return torch.nn.functional.embedding_bag(index, table, per_sample_weights=weights, mode="sum")
    rows: Tensor = _WeightedRows.apply(table, index, weights)
    return rows


def transfer(matrix: Float[Tensor, "rows directions"], light: Float[Tensor, "directions 3"]) -> Float[Tensor, "rows 3"]:
    """`matrix @ light` for a constant matrix; differentiable in the light. BLAS is slow on so narrow a product."""
    if matrix.device.type != "cpu" or matrix.dtype != torch.float32 or light.dtype != torch.float32:
        return matrix @ light
    if matrix.shape[1] != len(light):
        raise ValueError(f"a matrix of {matrix.shape[1]} columns times {len(light)} directions")
    product: Tensor = _Transfer.apply(matrix, light)
    return product


def transfer_at(
    matrix: Float[Tensor, "rows directions"],
    at: tuple[Int[Tensor, "points corners"], Float[Tensor, "points corners"]],
    lights: Float[Tensor, "lights directions 3"],
    light_index: Int[Tensor, "points"],
) -> Float[Tensor, "points 3"]:
    """`transfer` at points between rows, each under one of several lights; differentiable in the lights.

    Args:
        matrix: Constant.
        at: Rows around each point, and their weights (constant).
        lights: Radiance from the directions.
        light_index: Under which light each point lies.
    """
    if matrix.device.type != "cpu" or matrix.dtype != torch.float32 or lights.dtype != torch.float32:
        rows = torch.einsum("pk,pkd->pd", at[1], matrix[at[0].long()])
        return torch.einsum("pd,pdc->pc", rows, lights[light_index])
    if matrix.shape[1] != lights.shape[1]:
        raise ValueError(f"a matrix of {matrix.shape[1]} columns times {lights.shape[1]} directions")
    product: Tensor = _TransferAt.apply(matrix, *at, lights, light_index)
    return product


def gathered(
    weights: Float[Tensor, "rows directions"], source: Int[Tensor, "rows directions"], values: Float[Tensor, "values 3"]
) -> tuple[Float[Tensor, "rows 3"], Float[Tensor, "rows 3"]]:
    """Per row the sum and the mean of `values[source]` by weights of which most are 0; constant for gradients."""
    if weights.device.type != "cpu" or weights.dtype != torch.float32 or values.dtype != torch.float32:
        picked = torch.einsum("vd,vdc->vc", weights, values[source.long()])
        return picked, picked / weights.sum(1, keepdim=True).clamp_min(1e-6)
    total, mean = torch.empty(len(weights), 3), torch.empty(len(weights), 3)
    arrays = (x.detach().contiguous().numpy() for x in (weights, source, values))
    use_torch_threads()
    _gather_sparse(*arrays, total.numpy(), mean.numpy())
    return total, mean


class _Transfer(torch.autograd.Function):
    @staticmethod
    def forward(ctx, matrix: Tensor, light: Tensor) -> Tensor:  # type: ignore[no-untyped-def]  # noqa: ANN001
        ctx.matrix = matrix.detach().contiguous().numpy()
        result = torch.empty(len(matrix), 3)
        use_torch_threads()
        _multiply(ctx.matrix, light.detach().mT.contiguous().numpy(), result.numpy())
        return result

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[None, Tensor]:  # type: ignore[no-untyped-def]  # noqa: ANN001
        sums = torch.zeros(_CHUNKS, 3, ctx.matrix.shape[1])
        use_torch_threads()
        _multiply_back(ctx.matrix, grad.contiguous().numpy(), sums.numpy())
        return None, sums.sum(0).mT


class _TransferAt(torch.autograd.Function):
    @staticmethod
    def forward(ctx, matrix, corners, weights, lights, light_index) -> Tensor:  # type: ignore[no-untyped-def]  # noqa: ANN001
        constant = (matrix, corners, weights, light_index)
        ctx.constant = [x.detach().contiguous().numpy() for x in constant]
        ctx.shape = lights.shape
        result = torch.empty(len(corners), 3)
        by_channel = lights.detach().mT.contiguous()
        use_torch_threads()
        _multiply_at(*ctx.constant, by_channel.numpy(), result.numpy())
        return result

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[None, None, None, Tensor, None]:  # type: ignore[no-untyped-def]  # noqa: ANN001
        lights, directions, _ = ctx.shape
        sums = torch.zeros(_CHUNKS, lights, 3, directions)
        use_torch_threads()
        _multiply_at_back(*ctx.constant, grad.contiguous().numpy(), sums.numpy())
        return None, None, None, sums.sum(0).mT, None


class _WeightedRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, table: Tensor, index: Tensor, weights: Tensor) -> Tensor:  # type: ignore[no-untyped-def]  # noqa: ANN001
        index, weights = index.contiguous(), weights.contiguous()
        ctx.save_for_backward(table, index, weights)
        result = torch.empty(len(index), table.shape[1])
        use_torch_threads()
        _gather(table.detach().contiguous().numpy(), index.numpy(), weights.detach().numpy(), result.numpy())
        return result

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, None, Tensor | None]:  # type: ignore[no-untyped-def]  # noqa: ANN001
        table, index, weights = ctx.saved_tensors
        grad = grad.contiguous()
        to_table = to_weights = None
        if ctx.needs_input_grad[0]:
            to_table = torch.zeros_like(table)
            _scatter(to_table.numpy(), index.numpy(), weights.detach().numpy(), grad.numpy())
        if ctx.needs_input_grad[2]:
            to_weights = torch.empty_like(weights)
            use_torch_threads()
            _project(table.detach().contiguous().numpy(), index.numpy(), grad.numpy(), to_weights.numpy())
        return to_table, None, to_weights


@numba.njit(cache=True, parallel=True, fastmath=True)
@no_type_check
def _gather(table, index, weights, result):  # noqa: ANN001, ANN202  # a kernel
    for p in numba.prange(len(index)):
        for c in range(table.shape[1]):
            total = np.float32(0)
            for k in range(index.shape[1]):
                total += table[index[p, k], c] * weights[p, k]
            result[p, c] = total


@numba.njit(cache=True, fastmath=True)
@no_type_check
def _scatter(table, index, weights, grad):  # noqa: ANN001, ANN202  # a kernel: serial, so that sums repeat exactly
    for p in range(len(index)):
        for k in range(index.shape[1]):
            row, weight = index[p, k], weights[p, k]
            for c in range(table.shape[1]):
                table[row, c] += grad[p, c] * weight


@numba.njit(cache=True, parallel=True, fastmath=True)
@no_type_check
def _project(table, index, grad, to_weights):  # noqa: ANN001, ANN202  # a kernel
    for p in numba.prange(len(index)):
        for k in range(index.shape[1]):
            total = np.float32(0)
            for c in range(table.shape[1]):
                total += table[index[p, k], c] * grad[p, c]
            to_weights[p, k] = total


@numba.njit(cache=True, parallel=True, fastmath=True)
@no_type_check
def _multiply(matrix, light, result):  # noqa: ANN001, ANN202  # a kernel
    for row in numba.prange(matrix.shape[0]):
        red = green = blue = np.float32(0)
        for k in range(matrix.shape[1]):
            red += matrix[row, k] * light[0, k]
            green += matrix[row, k] * light[1, k]
            blue += matrix[row, k] * light[2, k]
        result[row, 0] = red
        result[row, 1] = green
        result[row, 2] = blue


@numba.njit(cache=True, parallel=True, fastmath=True)
@no_type_check
def _multiply_back(matrix, grad, sums):  # noqa: ANN001, ANN202  # a kernel: one sum per chunk of rows
    rows, chunks = matrix.shape[0], sums.shape[0]
    for chunk in numba.prange(chunks):
        for row in range(chunk * rows // chunks, (chunk + 1) * rows // chunks):
            red, green, blue = grad[row, 0], grad[row, 1], grad[row, 2]
            for k in range(matrix.shape[1]):
                sums[chunk, 0, k] += matrix[row, k] * red
                sums[chunk, 1, k] += matrix[row, k] * green
                sums[chunk, 2, k] += matrix[row, k] * blue


@numba.njit(cache=True, parallel=True, fastmath=True)
@no_type_check
def _multiply_at(matrix, corners, weights, light_index, lights, result):  # noqa: ANN001, ANN202  # a kernel
    for p in numba.prange(len(corners)):
        red = green = blue = np.float32(0)
        light = lights[light_index[p]]
        for corner in range(corners.shape[1]):
            row, weight = matrix[corners[p, corner]], weights[p, corner]
            r = g = b = np.float32(0)
            for k in range(matrix.shape[1]):
                r += row[k] * light[0, k]
                g += row[k] * light[1, k]
                b += row[k] * light[2, k]
            red, green, blue = red + weight * r, green + weight * g, blue + weight * b
        result[p, 0], result[p, 1], result[p, 2] = red, green, blue


@numba.njit(cache=True, parallel=True, fastmath=True)
@no_type_check
def _multiply_at_back(matrix, corners, weights, light_index, grad, sums):  # noqa: ANN001, ANN202  # a kernel
    points, chunks = corners.shape[0], sums.shape[0]
    for chunk in numba.prange(chunks):
        for p in range(chunk * points // chunks, (chunk + 1) * points // chunks):
            to_light = sums[chunk, light_index[p]]
            for corner in range(corners.shape[1]):
                row, weight = matrix[corners[p, corner]], weights[p, corner]
                r, g, b = weight * grad[p, 0], weight * grad[p, 1], weight * grad[p, 2]
                for k in range(matrix.shape[1]):
                    to_light[0, k] += row[k] * r
                    to_light[1, k] += row[k] * g
                    to_light[2, k] += row[k] * b


@numba.njit(cache=True, parallel=True, fastmath=True)
@no_type_check
def _gather_sparse(weights, source, values, total, mean):  # noqa: ANN001, ANN202  # a kernel
    for row in numba.prange(weights.shape[0]):
        red = green = blue = sum_ = np.float32(0)
        for k in range(weights.shape[1]):
            weight = weights[row, k]
            if weight != 0:
                n = source[row, k]
                red, green, blue = (
                    red + weight * values[n, 0],
                    green + weight * values[n, 1],
                    blue + weight * values[n, 2],
                )
                sum_ += weight
        total[row, 0], total[row, 1], total[row, 2] = red, green, blue
        share = 1 / max(sum_, np.float32(1e-6))
        mean[row, 0], mean[row, 1], mean[row, 2] = red * share, green * share, blue * share
