"""Several materials as one: the parts of their maps that are used, side by side in one atlas."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor
from torch.nn.functional import interpolate

from pipeline.errors import InputError
from pipeline.scene import Material

MAX_SIDE_PX = 4096
PADDING_PX = 16  # around each part, its map goes on: neighbours stay apart down to the mip level of 8 texels
_FLAT = (0.5, 0.5, 1.0)


def merge_materials(
    materials: list[Material], uvs: list[Float64[np.ndarray, "_ 2"]], path: Path
) -> tuple[Material, list[Float64[np.ndarray, "_ 2"]]]:
    """One material that looks like several, and the texture coordinates in it.

    Maps that repeat are laid out as often as they are used. Where the atlas would exceed 4096 texels a side,
    the largest maps are halved until it fits.

    Args:
        materials: The materials; one alone stays as it is.
        uvs: For each, the texture coordinates of what it covers.
        path: For the message.

    Raises:
        InputError: When not even small maps fit, as they repeat too often.
    """
    if len(materials) == 1:
        return materials[0], uvs
    bumpy = any(m.normal is not None for m in materials)
    stacks = [_stack(m, bumpy=bumpy) for m in materials]
    plain = [tuple(s.shape[:2]) == (1, 1) for s in stacks]
    uvs = [np.full_like(uv, 0.5) if one else uv for uv, one in zip(uvs, plain, strict=True)]
    limit = max(max(s.shape[:2]) for s in stacks)
    while True:
        stacks = [_at_most(s, limit) for s in stacks]
        cells = [_cell(s, uv) for s, uv in zip(stacks, uvs, strict=True)]
        corners, size = _shelves([c.size for c in cells])
        if max(size) <= MAX_SIDE_PX:
            break
        if limit <= PADDING_PX:
            raise InputError(
                f"holds {len(materials)} materials that repeat too often to be joined",
                path=path,
                remedy="use one material",
            )
        limit //= 2
    atlas = torch.zeros(*size, stacks[0].shape[-1])
    placed = []
    for stack, cell, corner, uv, material in zip(stacks, cells, corners, uvs, materials, strict=True):
        (row, column), (rows, columns) = corner, cell.size
        atlas[row : row + rows, column : column + columns] = _continued(stack, cell, wrap=material.wrap)
        texels = uv * [stack.shape[1], stack.shape[0]] - [cell.first[1], cell.first[0]]
        placed.append((texels + np.array([column, row])) / [size[1], size[0]])
    return _unstacked(atlas, bumpy=bumpy, double_sided=any(m.double_sided for m in materials)), placed


@dataclass(frozen=True, eq=False, kw_only=True)
class _Cell:
    """The texels of a map that are used, with padding: the first (row, column), which may lie outside, and how many."""

    first: tuple[int, int]
    size: tuple[int, int]


def _cell(stack: Float[Tensor, "height width channels"], uvs: Float64[np.ndarray, "_ 2"]) -> _Cell:
    """Whole multiples of twice the padding, so that coarse texels end where cells do."""
    first, size = [], []
    for side, along in zip(stack.shape[:2], (uvs[:, 1], uvs[:, 0]), strict=True):
        low = int(np.floor(along.min() * side)) - PADDING_PX
        high = int(np.ceil(along.max() * side)) + PADDING_PX
        first.append(low)
        size.append(-(-(high - low) // (2 * PADDING_PX)) * 2 * PADDING_PX)
    return _Cell(first=(first[0], first[1]), size=(size[0], size[1]))


def _shelves(sizes: list[tuple[int, int]]) -> tuple[list[tuple[int, int]], tuple[int, int]]:
    """Top left corners (row, column) of rectangles laid on shelves, tallest first, and the atlas's (height, width)."""
    area = sum(rows * columns for rows, columns in sizes)
    width = _power_of_two(max(*(columns for _, columns in sizes), int(area**0.5)))
    corners = [(0, 0)] * len(sizes)
    top = column = shelf = 0
    for i in sorted(range(len(sizes)), key=lambda i: -sizes[i][0]):
        rows, columns = sizes[i]
        if column + columns > width:
            top, column, shelf = top + shelf, 0, 0
        corners[i] = (top, column)
        column, shelf = column + columns, max(shelf, rows)
    return corners, (_power_of_two(top + shelf), width)


def _power_of_two(least: int) -> int:
    return 1 << (least - 1).bit_length()


def _continued(
    stack: Float[Tensor, "height width channels"], cell: _Cell, *, wrap: bool
) -> Float[Tensor, "rows columns channels"]:
    """The texels of a cell: beyond the map's border it repeats, or its border goes on."""

    def index(first: int, count: int, side: int) -> Int64[Tensor, "_"]:
        texel = torch.arange(first, first + count)
        return texel % side if wrap else texel.clamp(0, side - 1)

    rows, columns = (index(f, n, s) for f, n, s in zip(cell.first, cell.size, stack.shape[:2], strict=True))
    return stack[rows][:, columns]


def _at_most(stack: Float[Tensor, "height width channels"], side: int) -> Float[Tensor, "rows columns channels"]:
    """Maps reduced to at most `side` texels a side."""
    if max(stack.shape[:2]) <= side:
        return stack
    size = [min(s, side) for s in stack.shape[:2]]
    return interpolate(stack.movedim(-1, 0)[None], size, mode="area")[0].movedim(0, -1)


def _stack(material: Material, *, bumpy: bool) -> Float[Tensor, "height width channels"]:
    """All maps of a material; where others have a normal map, a flat one in place of none."""
    maps = [material.base_color, material.orm]
    if bumpy:
        flat = torch.tensor(_FLAT).expand_as(material.base_color)
        maps.append(flat if material.normal is None else material.normal)
    return torch.cat(maps, -1)


def _unstacked(atlas: Float[Tensor, "height width channels"], *, bumpy: bool, double_sided: bool) -> Material:
    base_color, orm, *normal = (m.contiguous() for m in atlas.split(3, -1))
    return Material(base_color=base_color, orm=orm, normal=normal[0] if bumpy else None, double_sided=double_sided)
