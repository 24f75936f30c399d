"""Silhouettes of the visual hull that all photos but one carve: what the others say about that one.

Every point of a grid keeps its largest exclusions (how far, in world units, it lies beyond the outline of a
mask) and the views that they come from. Leaving one view out is then a choice among what was kept.
"""

from dataclasses import dataclass
from typing import no_type_check

import numba
import numpy as np
from jaxtyping import Float, Int

from pipeline.geometry.tet_grid import TetGrid
from pipeline.geometry.visual_hull import MIN_SEEN
from pipeline.scene import Camera

_STEP = 0.5  # along a ray, in grid spacings, where the surface is near
_SAFE = 0.8  # share of the signed distance that a ray may skip


@dataclass(frozen=True, eq=False, kw_only=True)
class Exclusions:
    """The largest exclusions at the points of a grid, in falling order.

    Attributes:
        grid: Where.
        dissent: Share of the views that frame a point which may exclude it without effect.
        distances: World units, negative inside the outline.
        views: Which view each comes from.
        framed: How many views frame a point.
        count: The number of views.
    """

    grid: TetGrid
    dissent: float
    distances: Float[np.ndarray, "nx ny nz kept"]
    views: Int[np.ndarray, "nx ny nz kept"]
    framed: Int[np.ndarray, "nx ny nz"]
    count: int

    def sdf(self, left_out: int = -1) -> Float[np.ndarray, "nx ny nz"]:
        """Signed distance to the hull, negative inside, without what the view `left_out` says (-1: with all)."""
        sdf = np.empty(self.framed.shape, np.float32)
        least = max(2.0, MIN_SEEN * self.count)
        _choose(sdf, self.distances, self.views, self.framed, left_out, self.dissent, least, self.grid.spacing)
        return sdf

    def silhouette(self, camera: Camera, left_out: int = -1) -> Float[np.ndarray, "height width"]:
        """Antialiased coverage of the hull without the view `left_out`, at the camera's size."""
        image = np.empty((camera.height, camera.width), np.float32)
        world_from_image = camera.cam_from_world[:3, :3].numpy().T @ np.linalg.inv(camera.K.numpy())
        origin = self.grid.origin.double().numpy()
        _draw(image, self.sdf(left_out), origin, self.grid.spacing, world_from_image, camera.camera_center.numpy())
        return image


def rank_exclusions(
    grid: TetGrid, cameras: list[Camera], distances: list[Float[np.ndarray, "_ _"]], *, dissent: float
) -> Exclusions:
    """Look every point of `grid` up in all masks.

    Args:
        grid: Where the hull may be.
        cameras: One per mask, for the mask's own size.
        distances: `outline.mask_distance` of each mask.
        dissent: Share of the views that frame a point which may exclude it without effect.
    """
    kept = min(len(cameras), int(dissent * len(cameras) + 1e-9) + 2)
    largest = np.full((*grid.shape, kept), -1e9, np.float32)
    views = np.full((*grid.shape, kept), -1, np.int32)
    framed = np.zeros(grid.shape, np.int32)
    origin = grid.origin.double().numpy()
    for view, (camera, distance) in enumerate(zip(cameras, distances, strict=True)):
        image_from_world = (camera.K @ camera.cam_from_world[:3]).numpy()
        focal = float((camera.K[0, 0] + camera.K[1, 1]) / 2)
        image = np.ascontiguousarray(distance, np.float32)
        _rank(largest, views, framed, origin, grid.spacing, image, image_from_world, focal, view)
    return Exclusions(grid=grid, dissent=dissent, distances=largest, views=views, framed=framed, count=len(cameras))


@numba.njit(cache=True, parallel=True)
@no_type_check
def _rank(largest, views, framed, origin, spacing, distance, m, focal, view):  # noqa: ANN001, ANN202, PLR0913  # one loop nest
    """Let one view say how far it excludes every point."""
    nx, ny, nz, kept = largest.shape
    height, width = distance.shape
    for i in numba.prange(nx):
        px = origin[0] + i * spacing
        for j in range(ny):
            py = origin[1] + j * spacing
            for k in range(nz):
                pz = origin[2] + k * spacing
                w = m[2, 0] * px + m[2, 1] * py + m[2, 2] * pz + m[2, 3]
                if w <= 1e-9:
                    continue
                x = (m[0, 0] * px + m[0, 1] * py + m[0, 2] * pz + m[0, 3]) / w - 0.5
                y = (m[1, 0] * px + m[1, 1] * py + m[1, 2] * pz + m[1, 3]) / w - 0.5
                if x < 0 or y < 0 or x > width - 1 or y > height - 1:
                    continue
                framed[i, j, k] += 1
                x0, y0 = min(int(x), width - 2), min(int(y), height - 2)
                fx, fy = x - x0, y - y0
                top = distance[y0, x0] * (1 - fx) + distance[y0, x0 + 1] * fx
                bottom = distance[y0 + 1, x0] * (1 - fx) + distance[y0 + 1, x0 + 1] * fx
                value = (top * (1 - fy) + bottom * fy) * w / focal
                slot = kept - 1
                if value > largest[i, j, k, slot]:
                    while slot > 0 and largest[i, j, k, slot - 1] < value:
                        largest[i, j, k, slot] = largest[i, j, k, slot - 1]
                        views[i, j, k, slot] = views[i, j, k, slot - 1]
                        slot -= 1
                    largest[i, j, k, slot] = value
                    views[i, j, k, slot] = view


@numba.njit(cache=True, nogil=True)
@no_type_check
def _choose(sdf, largest, views, framed, left_out, dissent, least, outside):  # noqa: ANN001, ANN202, PLR0913  # one loop nest
    """Take the largest exclusion that may not be overruled, passing over the view that is left out."""
    nx, ny, nz, kept = largest.shape
    for i in range(nx):
        for j in range(ny):
            for k in range(nz):
                seen = framed[i, j, k]
                if seen < least:
                    sdf[i, j, k] = outside
                    continue
                rank = int(dissent * seen + 1e-9)
                for slot in range(rank + 1):
                    if views[i, j, k, slot] == left_out and left_out >= 0:
                        rank += 1
                        break
                sdf[i, j, k] = largest[i, j, k, min(rank, kept - 1)]


@numba.njit(cache=True, nogil=True)
@no_type_check
def _sample(sdf, x, y, z):  # noqa: ANN001, ANN202
    """The signed distance between grid points, trilinear."""
    nx, ny, nz = sdf.shape
    i, j, k = min(int(x), nx - 2), min(int(y), ny - 2), min(int(z), nz - 2)
    fx, fy, fz = x - i, y - j, z - k
    near = (sdf[i, j, k] * (1 - fx) + sdf[i + 1, j, k] * fx) * (1 - fy)
    near += (sdf[i, j + 1, k] * (1 - fx) + sdf[i + 1, j + 1, k] * fx) * fy
    far = (sdf[i, j, k + 1] * (1 - fx) + sdf[i + 1, j, k + 1] * fx) * (1 - fy)
    far += (sdf[i, j + 1, k + 1] * (1 - fx) + sdf[i + 1, j + 1, k + 1] * fx) * fy
    return near * (1 - fz) + far * fz


@numba.njit(cache=True, nogil=True)
@no_type_check
def _draw(image, sdf, origin, spacing, world_from_image, center):  # noqa: ANN001, ANN202  # one loop nest
    """March along each pixel's ray through the grid; the nearest pass tells the pixel's coverage."""
    height, width = image.shape
    limit = np.array(sdf.shape) - 1.0
    start = (center - origin) / spacing
    direction = np.empty(3)
    for row in range(height):
        for column in range(width):
            for axis in range(3):
                m = world_from_image[axis]
                direction[axis] = m[0] * (column + 0.5) + m[1] * (row + 0.5) + m[2]
            length = np.sqrt(direction[0] ** 2 + direction[1] ** 2 + direction[2] ** 2)
            # world units per pixel at unit distance along the ray
            pixel = (
                np.sqrt(world_from_image[0, 0] ** 2 + world_from_image[1, 0] ** 2 + world_from_image[2, 0] ** 2)
                / length
            )
            direction /= length
            enter, leave = 0.0, 1e30
            for axis in range(3):
                slope = direction[axis] if abs(direction[axis]) > 1e-12 else 1e-12
                a, b = -start[axis] / slope, (limit[axis] - start[axis]) / slope
                enter, leave = max(enter, min(a, b)), min(leave, max(a, b))
            nearest = 1e9
            t = enter + 1e-9
            while t < leave and nearest > -0.5:
                value = _sample(
                    sdf,
                    min(max(start[0] + t * direction[0], 0.0), limit[0]),
                    min(max(start[1] + t * direction[1], 0.0), limit[1]),
                    min(max(start[2] + t * direction[2], 0.0), limit[2]),
                )
                nearest = min(nearest, value / max(pixel * t * spacing, 1e-12))
                t += max(_STEP, _SAFE * value / spacing)
            image[row, column] = min(1.0, max(0.0, 0.5 - nearest))
