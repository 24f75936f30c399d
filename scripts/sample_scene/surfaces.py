"""Closed surfaces as stacks of rings: lathes, tori and tubes."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import trimesh
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

Array = NDArray[np.float64]
Point = Sequence[float]


@dataclass(frozen=True, eq=False, kw_only=True)
class Part:
    """One closed surface.

    Attributes:
        name: Unique name.
        grid: Rows of rings in metres, (rows, columns, 3): row 0 at the top of the chart, first column repeated last.
        paint: Paints the chart, from its texels' positions and their (s, t) in [0, 1].
        buried: Rings below this radius lie inside other parts and get little of the atlas.
    """

    name: str
    grid: Array
    paint: Callable[["Part", Array, Array], Array]
    buried: float = 0.0

    def girth(self) -> Array:
        """Length around every row in metres."""
        return np.linalg.norm(np.diff(self.grid, axis=1), axis=-1).sum(axis=1)

    def arc(self) -> Array:
        """Height of every row on the chart: metres from row 0, a tenth of that where the part is buried."""
        steps = np.linalg.norm(np.diff(self.grid, axis=0), axis=-1).max(axis=1)
        girth = self.girth()
        hidden = np.maximum(girth[:-1], girth[1:]) < 2.0 * np.pi * self.buried
        return np.concatenate([[0.0], np.cumsum(np.where(hidden, 0.1, 1.0) * steps)])

    def size(self) -> tuple[float, float]:
        """Width and height of the chart in metres."""
        return float(self.girth().max()), float(self.arc()[-1])


def unit(vector: Array) -> Array:
    """Scale vectors along the last axis to length one."""
    return vector / np.linalg.norm(vector, axis=-1, keepdims=True)


def rings(centres: Array, radii: Array, axes: Array, reference: Point, segments: int) -> Array:
    """Grid of circles around `axes`; the seam lies on the side of `reference`, columns run counter-clockwise."""
    x = unit(np.asarray(reference) - (axes @ np.asarray(reference))[:, None] * axes)
    y = np.cross(axes, x)
    angle = np.linspace(0.0, 2.0 * np.pi, segments + 1)[None, :, None]
    grid = centres[:, None] + radii[:, None, None] * (np.cos(angle) * x[:, None] + np.sin(angle) * y[:, None])
    grid[:, -1] = grid[:, 0]
    return grid


def rounded(corners: Sequence[tuple[float, float]], fillet: float, step: float = 0.0024) -> Array:
    """Polyline (radius, height) with its inner corners replaced by quadratic curves, sampled about every `step`."""
    points = np.asarray(corners, dtype=float)
    curve = [points[0]]
    t = np.linspace(0.0, 1.0, 7)[:, None]
    for before, corner, after in zip(points[:-2], points[1:-1], points[2:], strict=True):
        cut = min(fillet, 0.5 * np.linalg.norm(before - corner), 0.5 * np.linalg.norm(after - corner))
        start, end = corner + cut * unit(before - corner), corner + cut * unit(after - corner)
        curve.extend((1 - t) ** 2 * start + 2 * t * (1 - t) * corner + t**2 * end)
    curve.append(points[-1])
    dense = [curve[0]]
    for a, b in itertools.pairwise(curve):
        pieces = max(1, round(float(np.linalg.norm(b - a)) / step))
        dense.extend(a + (b - a) * k / pieces for k in range(1, pieces + 1))
    keep = [0] + [k for k in range(1, len(dense)) if np.linalg.norm(dense[k] - dense[k - 1]) > 1e-6]
    return np.asarray(dense)[keep]


def lathe(profile: Array, origin: Point = (0, 0, 0), axis: Point = (0, 1, 0), segments: int = 96) -> Array:
    """Turn a profile (radius, height), head first, around `axis`; the seam of an upright lathe faces -Z."""
    axes = np.repeat(unit(np.asarray(axis, dtype=float))[None], len(profile), axis=0)
    reference = (0, 1, 0) if abs(axis[1]) < 0.9 else (0, 0, -1)
    return rings(np.asarray(origin) + profile[:, 1:] * axes, profile[:, 0], axes, reference, segments)


def torus(centre: Point, axis: Point, radius: float, tube: float, segments: tuple[int, int] = (96, 16)) -> Array:
    """A ring around `axis`."""
    angle = np.linspace(0.0, 2.0 * np.pi, segments[1] + 1)
    profile = np.stack([radius + tube * np.cos(angle), tube * np.sin(angle)], axis=-1)
    profile[-1] = profile[0]
    return lathe(profile, centre, axis, segments[0])


def hose(knots: Sequence[Point], radius: float, ridges: int, reference: Point) -> Array:
    """A corrugated tube with round ends through `knots`."""
    steps = max(24, 8 * ridges)
    t = np.linspace(0.0, 1.0, steps + 1)
    path = CubicSpline(np.linspace(0.0, 1.0, len(knots)), np.asarray(knots, dtype=float))
    centres, axes = path(t), unit(path(t, 1))
    radii = radius * (1.0 - 0.11 * (1.0 - np.cos(2.0 * np.pi * ridges * t)) * (ridges > 0))
    cap = np.linspace(0.0, np.pi / 2, 6)[1:, None]
    first = centres[0] - radius * np.sin(cap[::-1]) * axes[0], radius * np.cos(cap[::-1, 0])
    last = centres[-1] + radius * np.sin(cap) * axes[-1], radius * np.cos(cap[:, 0])
    everything = np.concatenate([first[0], centres, last[0]]), np.concatenate([first[1], radii, last[1]])
    ends = np.repeat(axes[:1], 5, axis=0), np.repeat(axes[-1:], 5, axis=0)
    grid = rings(*everything, np.concatenate([ends[0], axes, ends[1]]), reference, 20)
    grid[0], grid[-1] = grid[0].mean(axis=0), grid[-1].mean(axis=0)
    return grid


def ball(centre: Point, radius: float, axis: Point = (0, 1, 0)) -> Array:
    """A sphere."""
    angle = np.linspace(0.0, np.pi, 25)
    profile = radius * np.stack([np.sin(angle), np.cos(angle)], axis=-1)
    profile[[0, -1], 0] = 0.0
    return lathe(profile, centre, axis, 40)


def triangulate(grid: Array) -> trimesh.Trimesh:
    """Closed mesh of one part without seams, its faces turned outwards."""
    rows, columns = grid.shape[:2]
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    faces = np.concatenate([np.stack(corner, axis=-1).reshape(-1, 3) for corner in ((a, b, c), (a, c, d))])
    points, inverse = np.unique(grid.reshape(-1, 3).round(9), axis=0, return_inverse=True)
    merged = inverse[faces]
    kept = (merged[:, 0] != merged[:, 1]) & (merged[:, 1] != merged[:, 2]) & (merged[:, 2] != merged[:, 0])
    mesh = trimesh.Trimesh(points, merged[kept], process=False)
    flip = -1 if mesh.volume < 0 else 1
    mesh.metadata |= {"corners": faces[kept][:, ::flip], "inverse": inverse}
    mesh.faces = mesh.faces[:, ::flip]
    if not mesh.is_watertight:
        raise ValueError("a part of the sample is not closed")
    return mesh
