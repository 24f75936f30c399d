"""Texture maps as a sum of coarse and fine levels, for fitting.

The coarse levels carry low frequencies quickly and fill texels that no photo shows. A fit looks up a few of the
texels in each step, so gradients and Adam's moments are kept for the touched ones only: a step costs what its
points cost, whatever the size of the maps.
"""

import functools
from dataclasses import dataclass
from typing import no_type_check

import numba
import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from pipeline.raster.cpu.jit import use_torch_threads
from pipeline.shading.gather import weighted_rows

COARSENING = (1, 4, 16)
BETAS = (0.9, 0.999)
EPSILON = 1e-8
ASSIGNED = (0.02, 0.97)  # values nearer to 0 or 1 hardly move again
_CORRECTED = 8192  # steps of a texel after which its moments need no correction
_PARTS, _BAND = 4, 4  # a step of Adam in parts, each of every fourth band of four rows of a level


@functools.cache
def _corrections() -> NDArray[np.float32]:
    """Adam's bias corrections for a texel that takes its nth step: factor of the step's length, and epsilon."""
    steps = np.arange(_CORRECTED + 1).clip(1)
    first, second = (1 / (1 - beta**steps) for beta in BETAS)
    return np.stack([first / np.sqrt(second), EPSILON / np.sqrt(second)], 1).astype(np.float32)


def bilinear_texels(
    uv: Float[Tensor, "points 2"], size: int
) -> tuple[Int[Tensor, "points 4"], Float[Tensor, "points 4"]]:
    """The four texels around each coordinate and their weights; clamped at the border, (0, 0) top left."""
    position = (uv * size - 0.5).clamp(0, size - 1)
    base = position.floor().clamp_max(size - 2)
    fu, fv = (position - base).unbind(-1)
    column, row = base.long().unbind(-1)
    corner = (row * size + column)[:, None] + torch.tensor([0, 1, size, size + 1], device=uv.device)
    weights = torch.stack([(1 - fu) * (1 - fv), fu * (1 - fv), (1 - fu) * fv, fu * fv], -1)
    return corner, weights


def sample_texture(
    texture: Float[Tensor, "height width channels"], uv: Float[Tensor, "points 2"]
) -> Float[Tensor, "points channels"]:
    """Bilinear look-up in a square texture, clamped at the border."""
    corner, weights = bilinear_texels(uv, texture.shape[0])
    rows = texture.reshape(-1, texture.shape[-1])
    return weighted_rows(rows, corner, weights)


@dataclass(frozen=True, eq=False, kw_only=True)
class Reading:
    """What a texture holds at some points, for a loss to be taken of it.

    Attributes:
        texture: The texture.
        uv: The points.
        values: Its values there, a leaf of the gradient's graph.
    """

    texture: "TexturePyramid"
    uv: Float[Tensor, "points 2"]
    values: Float[Tensor, "points channels"]

    def learn(self, *, rate: float) -> None:
        """Let the texture take a step, of `rate` logits, down the gradient that the values have got."""
        self.texture.learn(self.uv, self.values.detach(), torch.as_tensor(self.values.grad), rate=rate)


class TexturePyramid:
    """A square texture of values in (0, 1), the sigmoid of a sum of levels around a constant start.

    Args:
        size: Texels along an edge of the finest level.
        start: The value of each channel at the start.
    """

    def __init__(self, size: int, start: Float[Tensor, "channels"]) -> None:
        self.size = size
        self.start = torch.logit(start)
        self.levels = [torch.zeros((size // c) ** 2, len(start), device=start.device) for c in COARSENING]
        # Per texel the gradient (0 between steps) and both moments of each channel, then its number of steps: side by
        # side, as the texels of a step lie far from each other and memory is what takes the time.
        self._moments = [level.new_zeros(len(level), 3 * len(start) + 1) for level in self.levels]

    def __call__(self, uv: Float[Tensor, "points 2"]) -> Float[Tensor, "points channels"]:
        """Look the texture up, bilinearly in each level; constant for gradients, which `learn` takes instead."""
        if self.start.device.type != "cpu":
            total = self.start.expand(len(uv), -1)
            for coarsening, level in zip(COARSENING, self.levels, strict=True):
                total = total + weighted_rows(level, *bilinear_texels(uv, self.size // coarsening))
            return torch.sigmoid(total)
        values = np.empty((len(uv), len(self.start)), np.float32)
        use_torch_threads()
        _look_up(uv.contiguous().numpy(), tuple(x.numpy() for x in self.levels), self.start.numpy(), values)
        return torch.from_numpy(values)

    def read(self, uv: Float[Tensor, "points 2"]) -> Reading:
        """Look the texture up to learn from what a loss says of its values."""
        return Reading(texture=self, uv=uv, values=self(uv).requires_grad_())

    def learn(
        self,
        uv: Float[Tensor, "points 2"],
        values: Float[Tensor, "points channels"],
        grad: Float[Tensor, "points channels"],
        *,
        rate: float,
    ) -> None:
        """Take one step of Adam on the texels around some points; the others keep their values and moments.

        A texel's bias correction counts its own steps, so that the first one is as long as any.

        Args:
            uv: The points.
            values: What the look-up there gave.
            grad: The loss's gradient with respect to these values.
            rate: Length of a step, in logits.
        """
        logits = (grad * values * (1 - values)).contiguous()
        if self.start.device.type != "cpu":
            for k, coarsening in enumerate(COARSENING):
                corner, weights = bilinear_texels(uv, self.size // coarsening)
                self._learn_level(k, corner, weights, logits, rate)
            return
        levels, moments = (tuple(x.numpy() for x in part) for part in (self.levels, self._moments))
        use_torch_threads()
        _learn(uv.contiguous().numpy(), logits.numpy(), levels, moments, _corrections(), np.float32(rate))

    def _learn_level(self, k: int, corner: Tensor, weights: Tensor, logits: Tensor, rate: float) -> None:
        """`_learn` of one level, written out in torch for any device."""
        rows, channels = corner.reshape(-1), logits.shape[1]
        own = torch.zeros_like(self.levels[k])
        own.index_add_(0, rows, (weights[..., None] * logits[:, None]).flatten(0, 1))
        touched = torch.unique(rows)
        own, moments = own[touched], self._moments[k][touched]
        mean, square = moments[:, channels : 2 * channels], moments[:, 2 * channels : 3 * channels]
        mean += (1 - BETAS[0]) * (own - mean)
        square += (1 - BETAS[1]) * (own.square() - square)
        moments[:, -1] += 1
        correction = [1 - beta ** moments[:, -1:] for beta in BETAS]
        self.levels[k][touched] -= rate * (mean / correction[0]) / ((square / correction[1]).sqrt() + EPSILON)
        self._moments[k][touched] = moments

    def cells(self, uv: Float[Tensor, "points 2"]) -> Int[Tensor, "points"]:
        """The texel of the middle level that each point lies in."""
        side = self.size // COARSENING[1]
        column, row = (uv * side).long().clamp(0, side - 1).unbind(-1)
        return row * side + column

    def centers(self, cells: Int[Tensor, "cells"]) -> Float[Tensor, "cells 2"]:
        """Coordinates of the centres of texels of the middle level."""
        side = self.size // COARSENING[1]
        return (torch.stack([cells % side, cells // side], -1) + 0.5) / side

    def assign(self, cells: Int[Tensor, "cells"], values: Float[Tensor, "cells channels"]) -> None:
        """Give texels of the middle level, as `cells` names them, other values; the detail around them stays."""
        shift = torch.logit(values.clamp(*ASSIGNED)) - torch.logit(self(self.centers(cells)))
        self.levels[1][cells] += shift

    def bake(self) -> Float[Tensor, "size size channels"]:
        """The texture at the finest level's texel centres."""
        total = torch.zeros(1, len(self.start), self.size, self.size, device=self.start.device)
        for coarsening, level in zip(COARSENING, self.levels, strict=True):
            side = self.size // coarsening
            map_ = level.reshape(1, side, side, -1).permute(0, 3, 1, 2)
            total += torch.nn.functional.interpolate(map_, size=(self.size, self.size), mode="bilinear")
        return torch.sigmoid(total[0].permute(1, 2, 0) + self.start)

    def state(self) -> dict[str, Tensor]:
        """Its tensors by name; the entries share memory with it."""
        parts = {"level": self.levels, "moments": self._moments}
        return {f"{name}.{k}": tensor for name, part in parts.items() for k, tensor in enumerate(part)}

    def restore(self, saved: dict[str, Tensor]) -> None:
        """Take over what `state` told."""
        for name, tensor in self.state().items():
            tensor.copy_(saved[name])


@numba.njit
@no_type_check
def _texels(u, v, size):  # noqa: ANN001, ANN202  # part of the kernels
    """First of the four texels around a coordinate, and the fractions towards the others."""
    x = min(max(u * size - np.float32(0.5), np.float32(0)), np.float32(size - 1))
    y = min(max(v * size - np.float32(0.5), np.float32(0)), np.float32(size - 1))
    column, row = min(int(x), size - 2), min(int(y), size - 2)
    return row * size + column, np.float32(x - column), np.float32(y - row)


@numba.njit(cache=True, parallel=True, fastmath=True)
@no_type_check
def _look_up(uv, levels, start, values):  # noqa: ANN001, ANN202  # a kernel
    fine, middle, coarse = levels
    sizes = (int(np.sqrt(len(fine))), int(np.sqrt(len(middle))), int(np.sqrt(len(coarse))))
    for p in numba.prange(len(uv)):
        for c in range(len(start)):
            values[p, c] = start[c]
        for k in range(3):
            level = fine if k == 0 else middle if k == 1 else coarse
            first, fu, fv = _texels(uv[p, 0], uv[p, 1], sizes[k])
            below = first + sizes[k]
            for c in range(len(start)):
                top = level[first, c] + fu * (level[first + 1, c] - level[first, c])
                bottom = level[below, c] + fu * (level[below + 1, c] - level[below, c])
                values[p, c] += top + fv * (bottom - top)
        for c in range(len(start)):
            values[p, c] = 1 / (1 + np.exp(-values[p, c]))


@numba.njit(cache=True, parallel=True, fastmath=True)
@no_type_check
def _learn(uv, logits, levels, moments, corrections, rate):  # noqa: ANN001, ANN202  # a kernel
    for task in numba.prange(3 * _PARTS):  # a texel is one task's, so that sums repeat exactly
        part, k = task // 3, task % 3
        if k == 0:
            _learn_part(uv, logits, levels[0], moments[0], corrections, rate, part)
        elif k == 1:
            _learn_part(uv, logits, levels[1], moments[1], corrections, rate, part)
        else:
            _learn_part(uv, logits, levels[2], moments[2], corrections, rate, part)


@numba.njit(fastmath=True)
@no_type_check
def _learn_part(uv, logits, level, moments, corrections, rate, part):  # noqa: ANN001, ANN202, PLR0913  # part of a kernel
    """Every `_PARTS`-th band of rows of a level."""
    size, channels = int(np.sqrt(len(level))), level.shape[1]
    touched, count, steps = np.empty(4 * len(uv), np.int32), 0, 3 * channels
    for p in range(len(uv)):
        first, fu, fv = _texels(uv[p, 0], uv[p, 1], size)
        line = first // size
        for below in range(2):
            if ((line + below) // _BAND) % _PARTS != part:
                continue
            for right in range(2):
                row = first + right + size * below
                weight = (fu if right else 1 - fu) * (fv if below else 1 - fv)
                if moments[row, steps] >= 0:  # negative: touched in this step
                    moments[row, steps] = -1 - moments[row, steps]
                    touched[count], count = row, count + 1
                for c in range(channels):
                    moments[row, c] += weight * logits[p, c]
    for t in range(count):
        row = touched[t]
        own_steps = -moments[row, steps]  # one more than before
        moments[row, steps] = own_steps
        entry = min(int(own_steps), _CORRECTED)
        length, epsilon = rate * corrections[entry, 0], corrections[entry, 1]
        for c in range(channels):
            own = moments[row, c]
            moments[row, c] = 0
            mean = moments[row, channels + c]
            mean += np.float32(1 - BETAS[0]) * (own - mean)
            square = moments[row, 2 * channels + c]
            square += np.float32(1 - BETAS[1]) * (own * own - square)
            moments[row, channels + c], moments[row, 2 * channels + c] = mean, square
            level[row, c] -= length * mean / (np.sqrt(square) + epsilon)
