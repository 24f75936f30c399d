"""The Kuhn grid."""

import math

import torch

from pipeline.geometry.marching_tetrahedra import _kuhn_tetrahedra
from pipeline.geometry.tet_grid import grid_in_box
from tests.shapes import points


def test_six_tetrahedra_fill_the_cube():
    corners = torch.tensor(_kuhn_tetrahedra(), dtype=torch.float64)
    volume = torch.linalg.det(corners[:, 1:] - corners[:, :1]) / 6
    torch.testing.assert_close(volume, torch.full((6,), 1 / 6, dtype=torch.float64))
    # Equal volumes that sum to 1 fill the cube if none overlap: each random point lies in exactly one.
    where = torch.rand(2000, 3, dtype=torch.float64)
    local = torch.linalg.solve((corners[:, 1:] - corners[:, :1]).mT, (where[:, None] - corners[:, 0])[..., None])[
        ..., 0
    ]
    inside = (local > 0).all(-1) & (local.sum(-1) < 1)
    assert (inside.sum(1) == 1).all()


def test_edges_run_in_seven_positive_directions():
    corners = torch.tensor(_kuhn_tetrahedra())
    edges = set()
    for tet in corners:
        for i, j in torch.combinations(torch.arange(4)).tolist():
            step = tet[j] - tet[i]
            assert (step >= 0).all() or (step <= 0).all()
            edges.add(tuple(step.abs().tolist()))
    assert len(edges) == 7


def test_the_grid_covers_its_box_with_cubic_cells():
    box = torch.tensor([[-1.0, 0.5, 2.0], [2.0, 0.9, 3.51]], dtype=torch.float64)
    grid = grid_in_box(box, resolution=31)
    where = points(grid)
    assert grid.shape == (31, 5, 17)  # 3 / 30 = 0.1 a cell: 0.4 needs 4 cells, 1.51 needs 16
    assert math.isclose(grid.spacing, 0.1)
    assert (where[0, 0, 0] <= box[0] + 1e-9).all()
    assert (where[-1, -1, -1] >= box[1] - 1e-9).all()
    torch.testing.assert_close((where[0, 0, 0] + where[-1, -1, -1]) / 2, box.mean(0))
    torch.testing.assert_close(where[3, 2, 1] - where[0, 0, 0], torch.tensor([0.3, 0.2, 0.1], dtype=torch.float64))
