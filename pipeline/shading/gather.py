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


class _WeightedRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, table: Tensor, index: Tensor, weights: Tensor) -> Tensor:  # type: ignore[no-untyped-def]  # noqa: ANN001
        index, weights = index.contiguous(), weights.contiguous()
        ctx.save_for_backward(table, index, weights)
        result = torch.empty(len(index), table.shape[1])
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
