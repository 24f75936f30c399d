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
    """Solid angle of each texel in steradian; they sum to 4 pi."""
    centers = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    v, u = torch.meshgrid(centers, centers, indexing="ij")
    u, v = u.reshape(-1) * 2 - 1, v.reshape(-1) * 2 - 1
    y = 1 - u.abs() - v.abs()
    fold = (-y).clamp_min(0)
    point = torch.stack([u.abs() - fold, y, v.abs() - fold], -1)
    # the faces of |x| + |y| + |z| = 1 lie at 1/sqrt(3) from the centre; dw ~ area / r^3
    weight = torch.linalg.norm(point, dim=-1) ** -3
    return (weight * (4 * torch.pi / weight.sum())).float()


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
