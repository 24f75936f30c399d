"""Octahedral maps of the sphere (Engelhardt and Dachsbacher 2008): square, no poles, nearly even texels.

+Y is the centre of the map, -Y its four corners; x runs with the columns and z with the rows.
"""

import functools

import torch
from jaxtyping import Float, Int
from torch import Tensor


def octahedral_from_direction(direction: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 2"]:
    """Map coordinates in [0, 1]^2 of unit world directions."""
    d = direction / direction.abs().sum(-1, keepdim=True)
    x, y, z = d.unbind(-1)
    below = y < 0
    sign_x, sign_z = torch.where(x < 0, -1.0, 1.0), torch.where(z < 0, -1.0, 1.0)
    u = torch.where(below, (1 - z.abs()) * sign_x, x)
    v = torch.where(below, (1 - x.abs()) * sign_z, z)
    return torch.stack([u, v], -1) * 0.5 + 0.5


def direction_from_octahedral(uv: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 3"]:
    """Unit world directions of map coordinates; inverts `octahedral_from_direction`."""
    u, v = (uv * 2 - 1).unbind(-1)
    y = 1 - u.abs() - v.abs()
    fold = (-y).clamp_min(0)
    x = u + torch.where(u < 0, fold, -fold)
    z = v + torch.where(v < 0, fold, -fold)
    return torch.nn.functional.normalize(torch.stack([x, y, z], -1), dim=-1)


@functools.cache
def texel_directions(size: int) -> Float[Tensor, "texels 3"]:
    """Directions of the texel centres of a `size` x `size` map, row by row."""
    centers = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    v, u = torch.meshgrid(centers, centers, indexing="ij")
    return direction_from_octahedral(torch.stack([u, v], -1).reshape(-1, 2)).float()


@functools.cache
def texel_solid_angles(size: int) -> Float[Tensor, "texels"]:
    """Solid angle of each texel in steradian; they sum to 4 pi.

    Four triangles around each centre, by the formula of Van Oosterom and Strackee (1983): exact for even sizes,
    as the octahedron's edges then run along borders and diagonals of texels.
    """
    line = torch.arange(2 * size + 1, dtype=torch.float64) / (2 * size)
    v, u = torch.meshgrid(line, line, indexing="ij")
    fine = direction_from_octahedral(torch.stack([u, v], -1))
    center, corner = fine[1::2, 1::2], fine[::2, ::2]
    ring = [corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1]]
    total = torch.zeros(size, size, dtype=torch.float64)
    for a, b in zip(ring, ring[1:] + ring[:1], strict=True):
        triple = (center * torch.linalg.cross(a, b)).sum(-1).abs()
        total += 2 * torch.atan2(triple, 1 + (center * a).sum(-1) + (center * b).sum(-1) + (a * b).sum(-1))
    return total.reshape(-1).float()


def mean_step(texels: Float[Tensor, "size size channels"]) -> Float[Tensor, ""]:
    """Mean difference of neighbours along rows plus along columns, across the octahedron's folded edges too."""
    size, _, channels = texels.shape
    total = (texels[1:] - texels[:-1]).abs().sum() + (texels[:, 1:] - texels[:, :-1]).abs().sum()
    for edge in (texels[0], texels[-1], texels[:, 0], texels[:, -1]):  # each folds about its middle
        first, second = edge[: size // 2], edge.flip(0)[: size // 2]  # not a frame flip: texels that lie side by side
        total = total + (first - second).abs().sum()
    return total / (size * size * channels)


@functools.cache
def _wrapped_index(size: int, device: torch.device) -> Int[Tensor, "padded"]:
    """Texel of each entry of a (size + 2)^2 map whose border continues across the octahedron's edges."""
    coordinate = torch.arange(-1, size + 1, device=device)
    row, column = torch.meshgrid(coordinate, coordinate, indexing="ij")
    outside_row, outside_column = (row < 0) | (row >= size), (column < 0) | (column >= size)
    # leaving through an edge comes back through the same edge, mirrored about its middle
    mirrored_column = torch.where(outside_row, size - 1 - column, column)
    mirrored_row = torch.where(outside_column, size - 1 - row, row)
    row, column = mirrored_row.clamp(0, size - 1), mirrored_column.clamp(0, size - 1)
    return (row * size + column).reshape(-1)


def bilinear_corners(
    direction: Float[Tensor, "points 3"], size: int
) -> tuple[Int[Tensor, "points 4"], Float[Tensor, "points 4"]]:
    """Texels around each direction and their bilinear weights, continuous over the whole sphere."""
    position = octahedral_from_direction(direction) * size + 0.5  # in the padded map, centres at whole numbers
    base = position.floor().clamp(0, size)
    fraction = (position - base).clamp(0, 1)
    fu, fv = fraction.unbind(-1)
    column, row = base.long().unbind(-1)
    stride = size + 2
    padded = torch.stack([row * stride + column], -1) + torch.tensor([0, 1, stride, stride + 1], device=base.device)
    weights = torch.stack([(1 - fu) * (1 - fv), fu * (1 - fv), (1 - fu) * fv, fu * fv], -1)
    return _wrapped_index(size, direction.device)[padded], weights
