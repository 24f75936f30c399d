"""Regular grids of points whose cubes are each cut into six tetrahedra (Kuhn, 1960)."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class TetGrid:
    """A grid of cubic cells, each split along its main diagonal into six tetrahedra of equal volume.

    All edges of the split run in seven positive directions, so neighbouring cubes agree on their shared
    faces, and the midpoints of all edges are the points of the grid of half the spacing.

    Attributes:
        origin: Position of point (0, 0, 0), world units.
        spacing: Edge of a cell, world units.
        shape: Points along x, y and z.
    """

    origin: Float[Tensor, "3"]
    spacing: float
    shape: tuple[int, int, int]

    def positions(self, index: Int[Tensor, "points"]) -> Float[Tensor, "points 3"]:
        """World positions of points given by flat index (x slowest, z fastest)."""
        _, ny, nz = self.shape
        ijk = torch.stack([index // (ny * nz), index // nz % ny, index % nz], -1)
        return self.origin + ijk.to(self.origin.dtype) * self.spacing


def grid_in_box(box: Float[Tensor, "2 3"], *, resolution: int) -> TetGrid:
    """The grid over `box` with `resolution` points along its longest side; cells stay cubic."""
    size = box[1] - box[0]
    spacing = float(size.max()) / (resolution - 1)
    cells = [max(1, math.ceil(float(s) / spacing - 1e-6)) for s in size]
    center = box.mean(0)
    origin = center - 0.5 * spacing * torch.tensor(cells, dtype=center.dtype)
    return TetGrid(origin=origin, spacing=spacing, shape=(cells[0] + 1, cells[1] + 1, cells[2] + 1))
