"""The prior that an object has few paints, and the same paint everywhere the same roughness and metallic."""

from typing import Any, no_type_check

import numba
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.raster.cpu.jit import use_torch_threads

_DARK = 0.03  # added before the logarithm: below, differences of colour do not count


def parsimony_loss(
    base_color: Float[Tensor, "pixels 3"], like: Float[Tensor, "pixels channels"], *, sigma: float
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Few paints: quadratic entropy of base colour, and equal `like` (roughness, metallic) where the colour is equal.

    The first is -log of the mean of exp(-|xi - xj|^2 / 4 sigma^2) over all pairs, with x = log(base colour + .03):
    Renyi's entropy by Parzen windows, the parsimony prior of Barron and Malik (2015). The second is the mean
    absolute difference of `like` over pairs, weighted by that kernel.
    """
    x = torch.log(base_color + _DARK)
    if x.device.type != "cpu" or x.dtype != torch.float32:
        return parsimony_eager(x, like, sigma=sigma)
    entropy, unlike = _Parsimony.apply(x, like, sigma)
    return entropy, unlike


def parsimony_eager(
    x: Float[Tensor, "pixels 3"], like: Float[Tensor, "pixels channels"], *, sigma: float
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """`parsimony_loss` of logarithms of colours, written out in torch for any device and precision."""
    # channel by channel, not by a matrix product: those are not repeatable to the last bit
    square = torch.stack([(c[:, None] - c[None]).square() for c in x.unbind(-1)]).sum(0)
    kernel = torch.exp(square * (-1 / (4 * sigma**2)))
    weight = kernel.detach() / kernel.detach().sum()
    difference = sum((weight * (c[:, None] - c[None]).abs()).sum() for c in like.unbind(-1))
    return -torch.log(kernel.mean()), torch.as_tensor(difference)


class _Parsimony(torch.autograd.Function):
    """Both losses and their gradients in one pass over the pairs, none of which is stored."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, like: Tensor, sigma: float) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        arrays = [t.detach().contiguous().numpy() for t in (x, like)]
        grads = [np.empty_like(a) for a in arrays]
        sums = np.empty((len(x), 2))
        use_torch_threads()
        _pairs(*arrays, np.float32(1 / (4 * sigma**2)), sums, *grads)
        total, difference = sums.sum(0)
        ctx.save_for_backward(
            torch.from_numpy(grads[0] / np.float32(total * sigma**2)),
            torch.from_numpy(grads[1] * np.float32(2 / total)),
        )
        return x.new_tensor(-np.log(total / len(x) ** 2)), x.new_tensor(difference / total)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:  # noqa: ANN401
        to_x, to_like = ctx.saved_tensors
        return grads[0] * to_x, grads[1] * to_like, None


@numba.njit(cache=True, parallel=True, fastmath=True)
@no_type_check
def _pairs(x, like, sharpness, sums, to_x, to_like):  # noqa: ANN001, ANN202  # a kernel
    """Per point the sum of the kernel and of the weighted differences, and their slopes but for constant factors."""
    for i in numba.prange(len(x)):
        x0, x1, x2 = x[i, 0], x[i, 1], x[i, 2]
        total = unlike = 0.0
        s0 = s1 = s2 = np.float32(0)
        for c in range(like.shape[1]):
            to_like[i, c] = 0
        for j in range(len(x)):
            d0, d1, d2 = x0 - x[j, 0], x1 - x[j, 1], x2 - x[j, 2]
            weight = np.exp(-sharpness * (d0 * d0 + d1 * d1 + d2 * d2))
            total += weight
            s0, s1, s2 = s0 + weight * d0, s1 + weight * d1, s2 + weight * d2
            for c in range(like.shape[1]):
                difference = like[i, c] - like[j, c]
                unlike += weight * abs(difference)
                to_like[i, c] += weight * np.sign(difference)
        sums[i, 0], sums[i, 1] = total, unlike
        to_x[i, 0], to_x[i, 1], to_x[i, 2] = s0, s1, s2
