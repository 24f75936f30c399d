"""Marching tetrahedra on a Kuhn grid, differentiable with respect to the signed distances.

The linear isosurface of Doi and Koide (1991), as DMTet (Shen et al. 2021) uses it. The surface is closed
wherever it does not meet the border of the grid, and its triangles are counter-clockwise seen from outside.
"""

import itertools
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.geometry.tet_grid import TetGrid

_EDGES = list(itertools.combinations(range(4), 2))


def _kuhn_tetrahedra() -> list[list[tuple[int, int, int]]]:
    """Corner offsets of the six tetrahedra of a cube: paths from (0,0,0) to (1,1,1), positively oriented."""
    tetrahedra = []
    for path in itertools.permutations(range(3)):
        corners = torch.zeros(4, 3, dtype=torch.int64)
        for step, axis in enumerate(path):
            corners[step + 1 :, axis] = 1
        if float(torch.linalg.det((corners[1:] - corners[0]).double())) < 0:
            corners = corners[[0, 2, 1, 3]]
        tetrahedra.append([(int(c[0]), int(c[1]), int(c[2])) for c in corners])
    return tetrahedra


def _case_triangles(case: int) -> list[tuple[int, int, int]]:
    """Triangles of edge numbers for one of 16 cases; bit i of `case` is set when corner i is inside."""
    inside = [i for i in range(4) if case >> i & 1]
    outside = [i for i in range(4) if not case >> i & 1]
    if not inside or not outside:
        return []
    if len(inside) == 2:
        loop = [(inside[0], outside[0]), (inside[0], outside[1]), (inside[1], outside[1]), (inside[1], outside[0])]
    else:
        loop = [(i, o) for i in inside for o in outside]
    corners = torch.tensor([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=torch.float64)
    middle = [corners[list(pair)].mean(0) for pair in loop]
    normal = torch.linalg.cross(middle[1] - middle[0], middle[2] - middle[0])
    outward = corners[outside].mean(0) - corners[inside].mean(0)
    if float(normal @ outward) < 0:
        loop.reverse()
    numbers = [_EDGES.index((min(p), max(p))) for p in loop]
    return [(numbers[0], numbers[k], numbers[k + 1]) for k in range(1, len(numbers) - 1)]


_CASES = [_case_triangles(c) for c in range(16)]
_FIRST = torch.tensor([(c + [(-1, -1, -1)] * 2)[0] for c in _CASES])
_SECOND = torch.tensor([(c + [(-1, -1, -1)] * 2)[1] for c in _CASES])
_TETRAHEDRA = torch.tensor(_kuhn_tetrahedra())


@dataclass(frozen=True, eq=False, kw_only=True)
class CrossedEdges:
    """The edges of a grid between an inner and an outer point; on each lies a vertex of the surface.

    Attributes:
        low: Flat index of an edge's first end.
        high: That of its second end, the larger one.
        faces: Triangles of the surface, by number of the edges that their corners lie on.
    """

    low: Int[Tensor, "edges"]
    high: Int[Tensor, "edges"]
    faces: Int[Tensor, "faces 3"]


def crossed_edges(sdf: Float[Tensor, "nx ny nz"], grid: TetGrid) -> CrossedEdges:
    """The topology of the zero level of `sdf` (negative inside), which depends on signs alone."""
    corners = _active_tetrahedra(sdf, grid)
    inside = sdf.reshape(-1)[corners] < 0
    case = (inside * torch.tensor([1, 2, 4, 8], device=sdf.device)).sum(1)
    ends = corners[:, torch.tensor(_EDGES, device=sdf.device)].sort(-1).values  # (tets, 6, 2)
    keys = ends[..., 0] * sdf.numel() + ends[..., 1]
    triangles = [
        torch.gather(keys[rows], 1, table[case[rows]])
        for table in (_FIRST.to(sdf.device), _SECOND.to(sdf.device))
        for rows in [(table[case, 0] >= 0).nonzero()[:, 0]]
    ]
    edges, faces = torch.unique(torch.cat(triangles), return_inverse=True)
    return CrossedEdges(low=edges // sdf.numel(), high=edges % sdf.numel(), faces=faces)


def marching_tetrahedra(
    sdf: Float[Tensor, "nx ny nz"], grid: TetGrid
) -> tuple[Float[Tensor, "vertices 3"], Int[Tensor, "faces 3"]]:
    """Extract the zero level of `sdf` (negative inside) as a triangle mesh.

    Args:
        sdf: Signed distances at the grid's points, world units.
        grid: Where those points lie.

    Returns:
        Vertex positions in world units, differentiable with respect to `sdf`; faces.
    """
    crossed = crossed_edges(sdf.detach(), grid)
    flat = sdf.reshape(-1)
    a, b = flat[crossed.low], flat[crossed.high]
    t = (a / (a - b))[:, None]
    start, end = grid.positions(crossed.low), grid.positions(crossed.high)
    return start + t.to(start.dtype) * (end - start), crossed.faces


def _active_tetrahedra(sdf: Float[Tensor, "nx ny nz"], grid: TetGrid) -> Int[Tensor, "tets 4"]:
    """Flat corner indices of all tetrahedra of the cubes that the surface crosses."""
    inside = sdf < 0
    nx, ny, nz = grid.shape
    count = torch.zeros(nx - 1, ny - 1, nz - 1, dtype=torch.int8, device=sdf.device)
    for dx, dy, dz in itertools.product((0, 1), repeat=3):
        count += inside[dx : nx - 1 + dx, dy : ny - 1 + dy, dz : nz - 1 + dz]
    cubes = ((count > 0) & (count < 8)).nonzero()
    corners = cubes[:, None, None, :] + _TETRAHEDRA.to(sdf.device)
    stride = torch.tensor([ny * nz, nz, 1], device=sdf.device)
    return (corners * stride).sum(-1).reshape(-1, 4)
