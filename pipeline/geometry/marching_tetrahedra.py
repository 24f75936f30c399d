"""Marching tetrahedra on a Kuhn grid, differentiable with respect to the signed distances.

The linear isosurface of Doi and Koide (1991), as DMTet (Shen et al. 2021) uses it. The surface is closed
wherever it does not meet the border of the grid, and its triangles are counter-clockwise seen from outside.
"""

import itertools
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
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
_DIRECTIONS = torch.tensor(list(itertools.product((0, 1), repeat=3))[1:])  # of all edges, in the order of their offsets
_PAIRS = _TETRAHEDRA[:, torch.tensor(_EDGES)]  # (6 tetrahedra, 6 edges, 2 ends, 3)
_EDGE_STARTS = _PAIRS.amin(2)
_EDGE_DIRECTIONS = ((_PAIRS.amax(2) - _EDGE_STARTS) * torch.tensor([4, 2, 1])).sum(-1) - 1


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
    device, (_, ny, nz) = sdf.device, grid.shape
    stride = torch.tensor([ny * nz, nz, 1])
    tetrahedra, starts, steps = ((x * stride).sum(-1).to(device) for x in (_TETRAHEDRA, _EDGE_STARTS, _DIRECTIONS))
    directions = _EDGE_DIRECTIONS.to(device)
    cubes = (_crossed_cubes(sdf < 0) * stride.to(device)).sum(-1)
    corners = cubes[:, None, None] + tetrahedra  # (cubes, 6 tetrahedra, 4)
    inside = (sdf < 0).reshape(-1)
    case = (inside[corners] * torch.tensor([1, 2, 4, 8], dtype=torch.uint8, device=device)).sum(-1)
    point, number = _numbered(corners.reshape(-1), sdf.numel())
    triangles = []  # of edges, each told by its start among these points and its direction
    for table in (_FIRST.to(device), _SECOND.to(device)):
        cube, kind = (table[case, 0] >= 0).nonzero().unbind(1)
        edge = table[case[cube, kind]]
        start = number[cubes[cube, None] + starts[kind[:, None], edge]]
        triangles.append(start * len(_DIRECTIONS) + directions[kind[:, None], edge])
    keys, renumbered = _numbered(torch.cat(triangles).reshape(-1), len(point) * len(_DIRECTIONS))
    low = point[keys // len(_DIRECTIONS)]
    high = low + steps[keys % len(_DIRECTIONS)]
    return CrossedEdges(low=low, high=high, faces=torch.cat([renumbered[rows] for rows in triangles]).long())


def _numbered(values: Int[Tensor, "values"], limit: int) -> tuple[Int[Tensor, "distinct"], Int[Tensor, "limit"]]:
    """The distinct values below `limit`, rising, and the place of each among them: `unique` without its sort."""
    there = torch.zeros(limit, dtype=torch.bool, device=values.device)
    there[values] = True
    return there.nonzero()[:, 0], torch.cumsum(there, 0, dtype=torch.int32) - 1


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


def _crossed_cubes(inside: Bool[Tensor, "nx ny nz"]) -> Int[Tensor, "cubes 3"]:
    """The first corners of all cubes that the surface crosses."""
    nx, ny, nz = inside.shape
    count = torch.zeros(nx - 1, ny - 1, nz - 1, dtype=torch.int8, device=inside.device)
    for dx, dy, dz in itertools.product((0, 1), repeat=3):
        count += inside[dx : nx - 1 + dx, dy : ny - 1 + dy, dz : nz - 1 + dz]
    return ((count > 0) & (count < 8)).nonzero()
