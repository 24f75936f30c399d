"""Drives the coverage kernels: sort triangles into bands, draw them, resolve barycentrics."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.raster.cpu import barycentrics, coverage

# Views are drawn in groups, so that the band lists of a group stay below about half a gigabyte.
_GROUP_TRIANGLES = 16_000_000


@dataclass(frozen=True, eq=False, kw_only=True)
class Layer:
    """The nearest surface per pixel, or the next one behind a layer.

    Attributes:
        points: Per view and vertex X, Y, z, w, X/w, Y/w in pixels (`coverage.project`).
        ids: Triangle index, -1 where empty (views, height, width).
        depth: z/w (views, height, width), beyond 1 where empty.
    """

    points: NDArray[np.float64]
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


def _draw(points: NDArray, faces: NDArray, ids: NDArray, depth: NDArray, behind: tuple[NDArray, NDArray]) -> None:
    """Fill `ids` and `depth` for one group of views."""
    views, height, width = ids.shape
    bands = -(-height // coverage.BAND_ROWS)
    rows = np.empty((views, len(faces), 2), np.int32)
    counts = np.zeros((views, bands, coverage.CHUNKS), np.int64)
    coverage.count_bands(points, faces, (width, height), rows, counts)
    ends = np.cumsum(counts.reshape(-1))
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]]).reshape(counts.shape)
    band_ends = np.concatenate([np.zeros(1, np.int64), ends[coverage.CHUNKS - 1 :: coverage.CHUNKS]])
    lists = np.empty(int(ends[-1]), np.int32)
    coverage.fill_bands(rows, starts, lists)
    order = _spread(views * bands)
    coverage.cover_bands(points, faces, rows, band_ends, lists, order, ids, depth, *behind)


def project_points(clip: NDArray, size_px: tuple[int, int]) -> NDArray[np.float64]:
    """Clip positions (views, vertices, 4) as `Layer.points`."""
    points = np.empty((*clip.shape[:2], 6), np.float64)
    coverage.project(clip.reshape(-1, 4), *size_px, points.reshape(-1, 6))
    return points


def find_layer(clip: NDArray, faces: NDArray[np.int32], size_px: tuple[int, int], behind: Layer | None = None) -> Layer:
    """Find the nearest triangle at each pixel centre, or the nearest one behind a layer of the same scene.

    Args:
        clip: Clip positions (views, vertices, 4), float32 or float64.
        faces: Vertex indices, all in range.
        size_px: Image (width, height).
        behind: The layer in front of the wanted one.
    """
    width, height = size_px
    views = len(clip)
    if behind is None:
        points = project_points(clip, size_px)
        hidden = (np.empty((views, 0, 0), np.int32), np.empty((views, 0, 0), np.float64))
    else:
        points, hidden = behind.points, (behind.ids, behind.depth)
    ids = np.empty((views, height, width), np.int32)
    depth = np.empty((views, height, width), np.float64)
    for group in _cut_views(views, len(faces)):
        _draw(points[group], faces, ids[group], depth[group], (hidden[0][group], hidden[1][group]))
    return Layer(points=points, ids=ids, depth=depth)


def resolve_layer(layer: Layer, faces: NDArray[np.int32], dtype: np.dtype) -> NDArray:
    """The layer as (views, height, width, 4): u, v, z/w, id + 1."""
    rast = np.empty((*layer.ids.shape, 4), dtype)
    barycentrics.resolve(layer.points, faces, layer.ids, layer.depth, rast)
    return rast


def layer_derivatives(layer: Layer, faces: NDArray[np.int32], dtype: np.dtype) -> NDArray:
    """Screen derivatives (views, height, width, 4): du/dx, du/dy, dv/dx, dv/dy per pixel."""
    out = np.empty((*layer.ids.shape, 4), dtype)
    barycentrics.screen_derivatives(layer.points, faces, layer.ids, out)
    return out
