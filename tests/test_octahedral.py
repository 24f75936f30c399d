"""Octahedral maps."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from pipeline.shading.octahedral import (
    bilinear_corners,
    direction_from_octahedral,
    mean_step,
    octahedral_from_direction,
    texel_directions,
    texel_solid_angles,
)


def directions(count):
    return normalize(torch.randn(count, 3, dtype=torch.float64), dim=-1)


def look_up(texels, direction):
    index, weights = bilinear_corners(direction, math.isqrt(len(texels)))
    return (texels[index] * weights).sum(1)


def test_directions_and_map_coordinates_invert_each_other():
    direction = directions(10_000)
    uv = octahedral_from_direction(direction)
    assert ((uv >= 0) & (uv <= 1)).all()
    torch.testing.assert_close(direction_from_octahedral(uv), direction)
    uv = torch.rand(10_000, 2, dtype=torch.float64)
    torch.testing.assert_close(octahedral_from_direction(direction_from_octahedral(uv)), uv)


def test_up_is_the_middle_and_down_the_corners():
    uv = torch.tensor([[0.5, 0.5], [0.0, 0.0], [1.0, 0.0], [1.0, 0.5], [0.5, 1.0]])
    expected = torch.tensor([[0.0, 1, 0], [0, -1, 0], [0, -1, 0], [1, 0, 0], [0, 0, 1]])
    torch.testing.assert_close(direction_from_octahedral(uv), expected)


@pytest.mark.parametrize("size", [2, 8, 32])
def test_solid_angles_are_those_of_the_texels(size):
    angles = texel_solid_angles(size)
    assert float(angles.double().sum()) == pytest.approx(4 * math.pi, rel=1e-6)
    fine = 16 * size
    corner = torch.arange(fine + 1, dtype=torch.float64) / fine
    at = direction_from_octahedral(torch.stack(torch.meshgrid(corner, corner, indexing="xy"), -1))
    a, b, c, d = at[:-1, :-1], at[:-1, 1:], at[1:, 1:], at[1:, :-1]
    exact = triangle_solid_angle(a, b, c) + triangle_solid_angle(a, c, d)
    exact = exact.reshape(size, 16, size, 16).sum((1, 3)).reshape(-1)
    # The finer map cuts its texels along one diagonal, across the octahedron's edges in half of the quadrants.
    torch.testing.assert_close(angles.double(), exact, atol=0, rtol=2e-3)


def triangle_solid_angle(a, b, c):
    """Van Oosterom and Strackee (1983)."""
    triple = (a * torch.linalg.cross(b, c)).sum(-1).abs()
    return 2 * torch.atan2(triple, 1 + (a * b).sum(-1) + (b * c).sum(-1) + (c * a).sum(-1))


@pytest.mark.parametrize("size", [2, 5, 16])
def test_look_ups_are_continuous_over_the_whole_sphere(size):
    """Random texels: nearby directions differ by the slope of a texel at most, across the seams too."""
    texels = torch.rand(size * size, dtype=torch.float64)
    start = directions(40_000)
    # The map's border is where x = 0 or z = 0 below the horizon: put half of the pairs astride it.
    start[:10_000, 0] = 0
    start[10_000:20_000, 2] = 0
    start[:20_000, 1] = -start[:20_000, 1].abs()
    start = normalize(start, dim=-1)
    step = 1e-4
    a = normalize(start + step * directions(40_000), dim=-1)
    b = normalize(start - step * directions(40_000), dim=-1)
    change = (look_up(texels, a) - look_up(texels, b)).abs()
    assert change.max() < 3 * size * 2 * step  # a seam would jump by up to 1


def test_at_texel_centres_the_texel_itself_is_found():
    texels = torch.rand(81, dtype=torch.float32)
    torch.testing.assert_close(look_up(texels, texel_directions(9)), texels)


def test_weights_sum_to_one_and_texels_lie_nearby():
    direction = directions(5_000)
    index, weights = bilinear_corners(direction, 16)
    torch.testing.assert_close(weights.sum(1), torch.ones(5_000, dtype=torch.float64))
    assert ((weights >= 0) & (weights <= 1)).all()
    cosine = (texel_directions(16)[index].double() * direction[:, None]).sum(-1)
    # The diagonal of a texel in the middle of a face is 1/16 * 4 / sqrt(2/3) = 31 degrees.
    assert torch.where(weights > 1e-6, cosine, 1).min() > math.cos(math.radians(32))


def test_below_the_four_corner_texels_meet():
    index, weights = bilinear_corners(torch.tensor([[0.0, -1.0, 0.0]]), 4)
    assert sorted(index[0].tolist()) == [0, 3, 12, 15]
    torch.testing.assert_close(weights, torch.full((1, 4), 0.25))


def test_every_texel_has_four_neighbours_those_across_folded_edges_among_them():
    size = 6
    for texel in torch.eye(size * size):
        assert mean_step(texel.reshape(size, size, 1)).item() == pytest.approx(4 / size**2)


def test_half_an_edge_that_differs_is_a_step_on_both_its_sides():
    even = torch.zeros(32, 32, 1)
    even[:16, -1] = 1  # beside the column within, and beside the other half of its edge
    assert mean_step(even).item() == pytest.approx((16 + 16 + 1 + 1) / 32**2)
