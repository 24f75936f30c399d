"""Drives the coverage kernels: sort triangles into bands, draw them layer by layer."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.raster.cpu import bands, barycentrics, coverage

# Views are drawn in groups, so that the band lists of a group stay below about half a gigabyte.
_GROUP_TRIANGLES = 16_000_000


@dataclass(frozen=True, eq=False, kw_only=True)
class Layer:
    """The nearest surface per pixel, or the next one behind a layer.

    Attributes:
        rast: u, v, z/w, id + 1 per pixel (views, height, width, 4), zero where empty.
        ids: Triangle index, -1 where empty (views, height, width); without rows when no layer behind it is wanted.
        depth: z/w in float64, beyond 1 where empty; shaped like `ids`.
    """

    rast: NDArray
    ids: NDArray[np.int32]
    depth: NDArray[np.float64]


def _spread(count: int) -> NDArray[np.int64]:
    """A fixed permutation of `range(count)` in which neighbours lie far apart (golden-ratio steps)."""
    step = max(1, round(count * 0.618))
    while math.gcd(step, count) != 1:
        step += 1
    return (np.arange(count, dtype=np.int64) * step) % count


def _cut_views(count: int, triangles: int) -> list[slice]:
    """Cut a batch of views into groups of bounded memory."""
    group = max(1, _GROUP_TRIANGLES // max(1, triangles))
    return [slice(first, first + group) for first in range(0, count, group)]


def band_lists(rows: NDArray[np.int32], counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The triangles of each band of each view, one list behind the other, and where each list ends (0 first).

    Args:
        rows: First and last + 1 row of each triangle (views, faces, 2).
        counts: How many triangles of each chunk reach each band (views, bands, chunks).
    """
    ends = np.cumsum(counts.reshape(-1))
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]]).reshape(counts.shape)
    lists = np.empty(int(ends[-1]), np.int32)
    bands.fill_bands(rows, starts, lists)
    return np.concatenate([np.zeros(1, np.int64), ends[bands.CHUNKS - 1 :: bands.CHUNKS]]), lists


def _draw(
    clip: NDArray,
    faces: NDArray,
    kept: tuple[NDArray, NDArray],
    behind: tuple[NDArray, NDArray],
    rast: NDArray,
    *,
    closed: bool,
) -> None:
    """Fill `rast`, and ids and depth to be kept, for one group of views."""
    views, height, width, _ = rast.shape
    screen = np.empty((*clip.shape[:2], 3), np.float64)
    bands.project(clip.reshape(-1, 4), width, height, screen.reshape(-1, 3))
    num_bands = -(-height // bands.BAND_ROWS)
    rows = np.empty((views, len(faces), 2), np.int32)
    counts = np.zeros((views, num_bands, bands.CHUNKS), np.int64)
    bands.count_bands(clip, screen, faces, (width, height), closed, rows, counts)
    band_ends, lists = band_lists(rows, counts)
    order = _spread(views * num_bands)
    scene = (clip, screen, faces)
    coverage.cover_bands(scene, rows, bands.BAND_ROWS, band_ends, lists, order, kept, behind, rast)


def find_layer(
    clip: NDArray,
    faces: NDArray[np.int32],
    size_px: tuple[int, int],
    *,
    behind: Layer | None = None,
    last: bool = True,
    closed: bool = False,
) -> Layer:
    """Find the nearest triangle at each pixel centre, or the nearest one behind a layer of the same scene.

    Args:
        clip: Clip positions (views, vertices, 4), float32 or float64.
        faces: Vertex indices, all in range.
        size_px: Image (width, height).
        behind: The layer in front of the wanted one.
        last: Whether no layer behind the wanted one will be asked for.
        closed: Whether triangles seen from behind may be left out.
    """
    width, height = size_px
    views = len(clip)
    hidden = _room(views, 0, width) if behind is None else (behind.ids, behind.depth)
    kept = _room(views, 0 if last else height, width)
    rast = np.empty((views, height, width, 4), clip.dtype)
    for group in _cut_views(views, len(faces)):
        _draw(
            clip[group],
            faces,
            (kept[0][group], kept[1][group]),
            (hidden[0][group], hidden[1][group]),
            rast[group],
            closed=closed,
        )
    return Layer(rast=rast, ids=kept[0], depth=kept[1])


def _room(views: int, height: int, width: int) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Room for ids and depths."""
    return np.empty((views, height, width), np.int32), np.empty((views, height, width), np.float64)


def screen_derivatives(clip: NDArray, faces: NDArray[np.int32], rast: NDArray) -> NDArray:
    """Derivatives (views, height, width, 4) of what was drawn: du/dx, du/dy, dv/dx, dv/dy per pixel."""
    out = np.empty_like(rast)
    barycentrics.screen_derivatives(clip, faces, rast, out)
    return out
