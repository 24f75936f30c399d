"""Fields that are refined without a change, and the band of points near a surface."""

import itertools

import pytest
import torch

from pipeline.geometry import mesh_ops
from pipeline.geometry.marching_tetrahedra import marching_tetrahedra
from pipeline.geometry.narrow_band import NarrowBand, level_shape, near_marked, subdivided
from pipeline.geometry.tet_grid import TetGrid


def bumpy(shape: tuple[int, int, int]) -> torch.Tensor:
    """Negative in some blob of points, positive at the border."""
    field = torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.6
    for axis, end in itertools.product(range(3), (0, -1)):
        field.select(axis, end).abs_()
    return field


def test_subdivision_leaves_the_surface_where_it_is() -> None:
    field = bumpy((6, 5, 7))
    coarse = TetGrid(origin=torch.zeros(3, dtype=torch.float64), spacing=1.0, shape=(6, 5, 7))
    fine = TetGrid(origin=coarse.origin, spacing=0.5, shape=(11, 9, 13))
    vertices, faces = marching_tetrahedra(field, coarse)
    more, finer = marching_tetrahedra(subdivided(field, fine.shape), fine)
    assert len(finer) > 2 * len(faces)
    volume = mesh_ops.signed_volume(vertices, faces)
    assert mesh_ops.signed_volume(more, finer) == pytest.approx(volume, rel=1e-9)
    assert volume > 5


def test_a_level_reaches_as_far_as_the_grid() -> None:
    for points, stride in itertools.product((17, 18, 19, 20), (1, 2, 4)):
        (count, *_) = level_shape((points, 9, 9), stride)
        assert stride * (count - 2) < points - 1 <= stride * (count - 1)
    fine = subdivided(torch.ones(level_shape((18, 9, 10), 4)), level_shape((18, 9, 10), 2))
    assert fine.shape == (10, 5, 6)


def test_what_is_near_a_marked_point_is_found_on_a_coarser_grid() -> None:
    marked = torch.zeros(18, 9, 10, dtype=torch.bool)
    marked[17, 4, 1] = True
    shape = level_shape((18, 9, 10), 2)
    assert near_marked(marked, 2, 0).nonzero().tolist() == [[8, 2, 0], [8, 2, 1], [9, 2, 0], [9, 2, 1]]
    near = near_marked(marked, 2, 1)
    assert near.shape == shape == (10, 5, 6)
    assert near.sum((1, 2)).tolist() == [0] * 7 + [
        2,
        7,
        7,
    ]  # those two and five beside them, in two layers; before, two
    assert torch.equal(near_marked(marked, 1, 0), marked)


def test_smoothing_spreads_within_the_band_alone_and_keeps_what_is_even() -> None:
    inside = torch.zeros(5, 5, 5, dtype=torch.bool)
    inside[1:4, 1:4, 2] = True
    band = NarrowBand(inside)
    assert torch.allclose(band.smoothed(torch.ones(9), 4), torch.ones(9))
    peak = torch.zeros(9)
    peak[4] = 1.0
    spread = band.smoothed(peak, 1)
    assert spread[4] == pytest.approx((1 + 2 / 6) / 2)  # above and below it the band ends: twice the point itself
    assert spread[[1, 3, 5, 7]] == pytest.approx([1 / 12] * 4)
    assert float(spread[[0, 2, 6, 8]].abs().max()) == 0
