"""`kaolin.ops.conversions` for machines without kaolin: its FlexiCubes by arguments and results, not by its rules.

One vertex for each crossed cube, the weighted mean of its crossings (Gibson 1998, "Constrained Elastic Surface
Nets"), where FlexiCubes has up to four; ambiguous cubes pinch.
"""

import sys
from types import ModuleType

import pytest
import torch
from torch import Tensor

EDGES = torch.tensor([0, 1, 1, 5, 4, 5, 0, 4, 2, 3, 3, 7, 6, 7, 2, 6, 2, 0, 3, 1, 7, 5, 6, 4]).reshape(12, 2)
AROUND = ((0, 0), (1, 0), (1, 1), (0, 1))  # cubes around an edge, counter-clockwise about its axis


class FlexiCubes:
    """What kaolin documents: negative is inside, corners of a cube with x first, cubes with z first."""

    def __init__(self, device: str = "cuda") -> None:
        self.device = device

    def __call__(  # noqa: PLR0913  # kaolin's
        self,
        voxelgrid_vertices: Tensor,
        scalar_field: Tensor,
        cube_idx: Tensor,
        resolution: list[int],
        qef_reg_scale: float = 1e-3,
        weight_scale: float = 0.99,
        beta: Tensor | None = None,
        alpha: Tensor | None = None,
        gamma_f: Tensor | None = None,
        training: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor]:
        nx, ny, nz = resolution
        assert scalar_field.shape == (len(voxelgrid_vertices),)
        assert cube_idx.shape == (nx * ny * nz, 8)
        assert gamma_f is None or gamma_f.shape == (len(cube_idx),)
        corner = voxelgrid_vertices.detach()[cube_idx]
        for bit, axis in enumerate(range(3)):
            step = corner[:, 1 << bit] - corner[:, 0]
            assert (step.argmax(1) == axis).all()
        ends = cube_idx[:, EDGES].reshape(-1)  # index_select: sums of gradients repeat
        field = scalar_field.index_select(0, ends).reshape(-1, 12, 2)
        crossed = (field.detach() < 0).sum(2) == 1
        if alpha is not None:
            field = field * (1 + weight_scale * torch.tanh(alpha))[:, EDGES]
        t = torch.where(crossed, field[..., 0] / torch.where(crossed, field[..., 0] - field[..., 1], 1), 0)
        place = voxelgrid_vertices.index_select(0, ends).reshape(-1, 12, 2, 3)
        crossing = torch.lerp(place[:, :, 0], place[:, :, 1], t[..., None])
        share = crossed.to(t.dtype) * (1 if beta is None else 1 + weight_scale * torch.tanh(beta))
        active = crossed.any(1)
        crossing, share = crossing[active], share[active] / share[active].sum(1, keepdim=True)
        vertices = (share[..., None] * crossing).sum(1)
        distance = (crossing - vertices[:, None]).norm(dim=2)
        deviation = (distance - (share * distance).sum(1, keepdim=True)).abs()[crossed[active]]
        number = torch.cumsum(active, 0).reshape(nx, ny, nz) - 1
        inside = torch.zeros(nx + 1, ny + 1, nz + 1, dtype=torch.bool)
        inside.view(-1)[:] = scalar_field.detach() < 0
        quads = _quads(inside, number)
        if not training:
            return vertices, torch.cat([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]), deviation
        middle = len(vertices) + torch.arange(len(quads))
        vertices = torch.cat([vertices, vertices.index_select(0, quads.reshape(-1)).reshape(-1, 4, 3).mean(1)])
        faces = [torch.stack([quads[:, k], quads[:, (k + 1) % 4], middle], 1) for k in range(4)]
        return vertices, torch.cat(faces), deviation


def _quads(inside: Tensor, number: Tensor) -> Tensor:
    """A quad about each crossed edge with four cubes around it; it faces outwards."""
    quads = []
    for axis in range(3):
        order = [axis, (axis + 1) % 3, (axis + 2) % 3]
        own, cube = inside.permute(order), number.permute(order)
        low, high = own[:-1, 1:-1, 1:-1], own[1:, 1:-1, 1:-1]
        for leaving in (True, False):
            x, y, z = ((low & ~high) if leaving else (~low & high)).nonzero().unbind(1)
            quad = torch.stack([cube[x, y + dy, z + dz] for dy, dz in AROUND], 1)
            quads.append(quad if leaving else quad.flip(1))  # not a frame flip: the other way round
    return torch.cat(quads)


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `import kaolin.ops.conversions` find the stand-in."""
    conversions = ModuleType("kaolin.ops.conversions")
    conversions.FlexiCubes = FlexiCubes  # type: ignore[attr-defined]
    for name, module in (("kaolin", ModuleType("kaolin")), ("kaolin.ops", ModuleType("kaolin.ops"))):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "kaolin.ops.conversions", conversions)
