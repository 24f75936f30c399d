"""Depth maps that agree, fused with the visual hull into one signed distance."""

from typing import no_type_check

import numba
import numpy as np
import torch
from jaxtyping import Float
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates
from torch import Tensor

from pipeline.geometry.tet_grid import TetGrid
from pipeline.geometry.voting import sum_votes
from pipeline.scene import Camera

BEHIND = 3.0  # times the truncation: so far behind a surface that a photo shows, the object counts as solid
SOLID_WEIGHT = 0.3  # of such points
ROUNDS = 60
WALL = 3.0  # cells between what a photo shows and the far side of the hull; two hold a point of the grid, one is noise
BEYOND = 1.0  # cells out of the far side that are still taken for an error of a depth that is there
SEEN_THROUGH = 0.01  # share of all photos that may look through a point of the object, as they may be mistaken
HIDDEN = 0.18  # share of all photos that must show something at or in front of it
ROUNDING, GROWTH = 1.0, 1.0  # cells: by how much what is left is smoothed, and grown, as its surface is not known yet
LEAST_SLOPE = 0.3  # cells towards the far side for each along the ray: flatter rays would be thrown far back


def agreement(
    camera: Camera,
    depth: Float[np.ndarray, "height width"],
    cameras: list[Camera],
    depths: list[Float[np.ndarray, "_ _"]],
    tolerance: float,
) -> Float[np.ndarray, "height width"]:
    """How many other depth maps show the same surface at each pixel, within `tolerance` (world units)."""
    count = np.zeros(depth.shape, np.float32)
    world_from_camera = np.linalg.inv(camera.cam_from_world.numpy())
    for other, other_depth in zip(cameras, depths, strict=True):
        other_from_camera = other.cam_from_world.numpy() @ world_from_camera
        _count_kernel(count, depth, camera.K.numpy(), other_from_camera, other.K.numpy(), other_depth, tolerance)
    return count


@numba.njit(cache=True, nogil=True)
@no_type_check
def _count_kernel(count, depth, intrinsics, pose, other_intrinsics, other_depth, tolerance):  # noqa: ANN001, ANN202, PLR0913  # a kernel
    height, width = depth.shape
    other_height, other_width = other_depth.shape
    for y in range(height):
        for x in range(width):
            d = depth[y, x]
            if d <= 0:
                continue
            px = (x + 0.5 - intrinsics[0, 2]) / intrinsics[0, 0] * d
            py = (y + 0.5 - intrinsics[1, 2]) / intrinsics[1, 1] * d
            z = pose[2, 0] * px + pose[2, 1] * py + pose[2, 2] * d + pose[2, 3]
            if z <= 1e-9:
                continue
            u = (pose[0, 0] * px + pose[0, 1] * py + pose[0, 2] * d + pose[0, 3]) / z * other_intrinsics[0, 0]
            v = (pose[1, 0] * px + pose[1, 1] * py + pose[1, 2] * d + pose[1, 3]) / z * other_intrinsics[1, 1]
            column, row = int(np.floor(u + other_intrinsics[0, 2])), int(np.floor(v + other_intrinsics[1, 2]))
            if 0 <= row < other_height and 0 <= column < other_width:
                seen = other_depth[row, column]
                if seen > 0 and abs(seen - z) < tolerance:
                    count[y, x] += 1


def within_hull(
    grid: TetGrid, hull: Float[Tensor, "nx ny nz"], camera: Camera, depth: Float[np.ndarray, "height width"]
) -> Float[np.ndarray, "height width"]:
    """The depth map without what cannot be: that a ray, which ends on the object, goes out through the hull's far side.

    A depth that comes closer to the far side than a wall's thickness is taken back, as the inner side of a thin wall
    would otherwise pierce it; one that lies beyond it is unknown.

    Args:
        grid: The points of the hull.
        hull: Signed distance to the hull at these, world units, negative inside.
        camera: Of the depth map.
        depth: Along the optical axis, world units; 0 where nothing is known.
    """
    row, column = np.nonzero(depth)
    known = depth[row, column]
    ray = np.stack([column + 0.5, row + 0.5, np.ones(len(row))], 1) @ np.linalg.inv(camera.K.numpy()).T
    ray = ray @ camera.cam_from_world[:3, :3].numpy()
    start = (camera.camera_center.numpy() - grid.origin.double().numpy()) / grid.spacing
    values = hull.numpy()

    def distance(z: Float[np.ndarray, "pixels"]) -> Float[np.ndarray, "pixels"]:
        """To the hull, cells."""
        at = start + ray * (z / grid.spacing)[:, None]
        return map_coordinates(values, at.T, order=1, mode="nearest") / grid.spacing

    here = distance(known)
    slope = here - distance(known - grid.spacing)
    leaving = (slope > 0) & (here > -WALL)
    nearer = known - np.where(leaving, (here + WALL) / np.maximum(slope, LEAST_SLOPE), 0) * grid.spacing
    result = np.zeros_like(depth)
    result[row, column] = np.where(leaving & (here > BEYOND), 0, nearer)
    return result


def hull_of_depths(
    grid: TetGrid, cameras: list[Camera], depths: list[Float[np.ndarray, "_ _"]]
) -> Float[Tensor, "nx ny nz"] | None:
    """Signed distance of what photos do not look through, where no outline tells the object; none without any depths.

    A point behind which depth maps show something is air. Where they show something in front of it, it may be solid;
    where they show neither, the photos see their surroundings there, and it is air, too.

    Args:
        grid: The points.
        cameras: One for each depth map.
        depths: Along the optical axis, world units; 0 where nothing is known.
    """
    told = [np.stack([np.zeros_like(depth), depth > 0, depth], 2) for depth in depths]
    votes = sum_votes(cameras, told, grid.origin.double().numpy(), grid.spacing, grid.shape, grid.spacing, 0.0)
    through, all_told = votes[..., 0], votes[..., 1]
    solid = (through <= SEEN_THROUGH * len(cameras)) & (all_told - through >= HIDDEN * len(cameras))
    if not solid.any():
        return None
    cells = distance_transform_edt(~solid) - distance_transform_edt(solid)
    return torch.from_numpy((grid.spacing * (gaussian_filter(cells, ROUNDING) - GROWTH)).astype(np.float32))


def fuse_depths(  # noqa: PLR0913  # one grid and what bears on it
    grid: TetGrid,
    hull: Float[Tensor, "nx ny nz"],
    cameras: list[Camera],
    depths: list[Float[np.ndarray, "_ _"]],
    weights: list[Float[np.ndarray, "_ _"]],
    *,
    truncation: float,
    spread: float = 4.0,
    trust: float = 1.0,
) -> Float[Tensor, "nx ny nz"]:
    """Signed distance of the surface that depth maps show, and of the hull where they show none.

    What is fused is by how much the surface lies inside of the hull; this offset goes over smoothly from where photos
    tell it to where they do not, and back to zero over `spread` cells.

    Args:
        grid: The points.
        hull: Signed distance to the hull at these, world units, negative inside; what is outside stays outside.
        cameras: One for each depth map.
        depths: Along the optical axis, world units; 0 where nothing is known.
        weights: How much each pixel counts.
        truncation: How far from a surface its distance is believed, world units.
        spread: Over how many cells an offset fades where no photo tells it.
        trust: Weight of the depth maps at which they count as much as their smoothness; they count by its square, so
            that few photos, which agree by chance where a surface mirrors, bend little and many do not keep what is
            rough about the hull.
    """
    sums = np.zeros((*grid.shape, 2), np.float32)
    origin = grid.origin.double().numpy()
    base = hull.numpy()
    for camera, depth, weight in zip(cameras, depths, weights, strict=True):
        image_from_world = (camera.K @ camera.cam_from_world[:3]).numpy()
        possible = within_hull(grid, hull, camera, depth)
        _integrate_kernel(sums, base, origin, grid.spacing, image_from_world, possible, weight, truncation)
    offset = _offset(sums, base, spread, trust)
    return torch.from_numpy(np.maximum(base, base + offset))


@numba.njit(cache=True, nogil=True, parallel=True)
@no_type_check
def _integrate_kernel(sums, hull, origin, spacing, m, depth, weight, truncation):  # noqa: ANN001, ANN202, PLR0913  # a kernel
    """Add a depth map's truncated distances (Curless and Levoy, 1996), positive in front of the surface."""
    height, width = depth.shape
    for i in numba.prange(sums.shape[0]):
        px = origin[0] + i * spacing
        for j in range(sums.shape[1]):
            py = origin[1] + j * spacing
            for k in range(sums.shape[2]):
                if hull[i, j, k] > 2 * spacing:
                    continue
                pz = origin[2] + k * spacing
                z = m[2, 0] * px + m[2, 1] * py + m[2, 2] * pz + m[2, 3]
                if z <= 1e-9:
                    continue
                x = (m[0, 0] * px + m[0, 1] * py + m[0, 2] * pz + m[0, 3]) / z
                y = (m[1, 0] * px + m[1, 1] * py + m[1, 2] * pz + m[1, 3]) / z
                column, row = int(np.floor(x)), int(np.floor(y))
                if not (0 <= row < height and 0 <= column < width):
                    continue
                d = depth[row, column]
                if d <= 0:
                    continue
                w = weight[row, column]
                distance = d - z
                if distance < -BEHIND * truncation:
                    continue
                if distance < -truncation:
                    w *= SOLID_WEIGHT
                sums[i, j, k, 0] += w * min(max(distance, -truncation), truncation)
                sums[i, j, k, 1] += w


@numba.njit(cache=True, nogil=True, parallel=True)
@no_type_check
def _offset(sums, hull, spread, trust):  # noqa: ANN001, ANN202  # a kernel
    """Smooth offset from the hull: the depth maps' where they tell it, fading to none where they do not."""
    nx, ny, nz = hull.shape
    now = np.zeros_like(hull)
    for i in numba.prange(nx):
        for j in range(ny):
            for k in range(nz):
                if sums[i, j, k, 1] > 0:
                    now[i, j, k] = sums[i, j, k, 0] / sums[i, j, k, 1] - hull[i, j, k]
    then = now.copy()
    pull = 1.0 / (spread * spread)
    for _ in range(ROUNDS):
        for i in numba.prange(1, nx - 1):
            for j in range(1, ny - 1):
                for k in range(1, nz - 1):
                    around = (
                        now[i - 1, j, k] + now[i + 1, j, k] + now[i, j - 1, k]
                        + now[i, j + 1, k] + now[i, j, k - 1] + now[i, j, k + 1]
                    )  # fmt: skip
                    w = (sums[i, j, k, 1] / trust) * (sums[i, j, k, 1] / trust)
                    told = w * (sums[i, j, k, 0] / sums[i, j, k, 1] - hull[i, j, k]) if w > 0 else 0.0
                    then[i, j, k] = (told + around) / (w + 6.0 + pull)
        now, then = then, now
    return now
