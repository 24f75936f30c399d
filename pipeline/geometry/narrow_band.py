"""The points of a grid near a surface, and fields on them from coarse to fine."""

import itertools

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import max_pool3d, pad

_NEIGHBOURS = ((1, 0, 0), (0, 1, 0), (0, 0, 1))


def level_shape(shape: tuple[int, int, int], stride: int) -> tuple[int, int, int]:
    """Points of the grid with `stride` times the spacing that reaches at least as far, from the same first point."""
    nx, ny, nz = (-(-(points - 1) // stride) + 1 for points in shape)
    return nx, ny, nz


def subdivided(values: Float[Tensor, "_ _ _"], shape: tuple[int, int, int]) -> Float[Tensor, "nx ny nz"]:
    """The field on the grid of half the spacing, cut to `shape`; differentiable.

    New points are midpoints of edges, as Kuhn's tetrahedra halve into Kuhn's: a field that is linear in each of them,
    and its zero level, stay as they are.
    """
    nx, ny, nz = values.shape
    fine = values.new_empty(2 * nx - 1, 2 * ny - 1, 2 * nz - 1)
    for dx, dy, dz in itertools.product((0, 1), repeat=3):
        low, high = values[: nx - dx, : ny - dy, : nz - dz], values[dx:, dy:, dz:]
        fine[dx::2, dy::2, dz::2] = (low + high) / 2
    return fine[: shape[0], : shape[1], : shape[2]].contiguous()


def near_marked(marked: Bool[Tensor, "nx ny nz"], stride: int, reach: int) -> Bool[Tensor, "cx cy cz"]:
    """Points of the grid of `stride` times the spacing in a cell with a marked one, or up to `reach` edges from one."""
    shape = level_shape((marked.shape[0], marked.shape[1], marked.shape[2]), stride)
    x, y, z = (stride * (points - 1) + 1 - own for points, own in zip(shape, marked.shape, strict=True))
    near = max_pool3d(pad(marked[None].float(), (0, z, 0, y, 0, x)), 2 * stride - 1, stride, stride - 1)
    for _ in range(reach):
        spread = [max_pool3d(near, [1 + 2 * i for i in axis], 1, list(axis)) for axis in _NEIGHBOURS]
        near = torch.stack(spread).amax(0)
    return near[0] > 0


class NarrowBand:
    """The points of a grid at which something may change.

    Attributes:
        index: Their flat indices.

    Args:
        inside: Which points are in the band.
    """

    def __init__(self, inside: Bool[Tensor, "nx ny nz"]) -> None:
        self.index: Int[Tensor, band] = inside.reshape(-1).nonzero()[:, 0]
        number = torch.full((inside.numel() + 1,), -1, dtype=torch.long, device=inside.device)
        number[self.index] = torch.arange(len(self.index), device=inside.device)
        shape = torch.tensor(inside.shape, device=inside.device)
        at = torch.stack(torch.unravel_index(self.index, tuple(inside.shape)), 1)
        columns = []
        for axis, sign in itertools.product(range(3), (-1, 1)):
            beside = at + sign * torch.tensor(_NEIGHBOURS[axis], device=inside.device)
            exists = ((beside >= 0) & (beside < shape)).all(1)
            flat = (beside[:, 0] * shape[1] + beside[:, 1]) * shape[2] + beside[:, 2]
            columns.append(number[torch.where(exists, flat, inside.numel())])
        own = torch.arange(len(self.index), device=inside.device)
        self._beside = [torch.where(column >= 0, column, own) for column in columns]  # at the rim, the point itself

    def beside(self, values: Float[Tensor, "band"]) -> Float[Tensor, "band"]:
        """The mean over each point's six neighbours."""
        total = values.index_select(0, self._beside[0])
        for column in self._beside[1:]:
            total = total + values.index_select(0, column)
        return total / len(self._beside)

    def smoothed(self, values: Float[Tensor, "band"], rounds: int) -> Float[Tensor, "band"]:
        """Each value averaged with its neighbours' mean, so many times (Jacobi's steps of diffusion)."""
        for _ in range(rounds):
            values = (values + self.beside(values)) / 2
        return values
