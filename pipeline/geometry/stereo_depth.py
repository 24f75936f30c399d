"""Depth of the surface in each photo by PatchMatch stereo, within a hull that the surface cannot leave.

Every pixel holds a small plane. Planes spread from pixel to pixel and are perturbed at random; those under which the
photo looks most like its neighbours stay (Bleyer, Rhemann and Rother, 2011; the weights of the correlation and the
choice of the best neighbours follow Schönberger and others, 2016).
"""

from dataclasses import dataclass
from typing import no_type_check

import numba
import numpy as np
from jaxtyping import Float

from pipeline.scene import Camera

RADIUS, STRIDE = 4, 2  # pixels: windows of 9 x 9, every second one of them compared
COLOR_SIGMA = 0.1  # of luma in [0, 1]: pixels that differ more belong to another surface
BEST = 3  # neighbours that a plane is judged by; the others may not see it
WORST = 2.0  # cost of a plane that no neighbour shows
UNSHOWN = 0.2  # cost of each that is lacking
LEAST_FACING = 0.15  # cosine between a plane's normal and the ray


@dataclass(frozen=True, eq=False, kw_only=True)
class StereoView:
    """One photo as stereo sees it.

    Attributes:
        camera: For the image's size.
        luma: Brightness in [0, 1].
        near: Depth of the hull's front, world units along the optical axis; 0 where it is not seen.
        far: Depth of its back.
        normal: Unit normals of its front in the camera's frame.
    """

    camera: Camera
    luma: Float[np.ndarray, "height width"]
    near: Float[np.ndarray, "height width"]
    far: Float[np.ndarray, "height width"]
    normal: Float[np.ndarray, "height width 3"]


@dataclass(frozen=True, eq=False, kw_only=True)
class DepthMap:
    """What stereo found.

    Attributes:
        depth: World units along the optical axis; 0 where nothing is known.
        normal: Unit normals in the camera's frame.
        cost: 1 - correlation with the neighbours that agree best, in [0, 2].
    """

    depth: Float[np.ndarray, "height width"]
    normal: Float[np.ndarray, "height width 3"]
    cost: Float[np.ndarray, "height width"]


def match_view(
    view: StereoView, others: list[StereoView], *, sweeps: int, seed: int, anywhere: bool = False
) -> DepthMap:
    """Depth map of `view` from its `others`, deterministic for one seed.

    Args:
        view: The photo.
        others: Photos that see the surface from 10 to 40 degrees aside; of the same or another size.
        sweeps: Passes over the photo, each from another corner.
        seed: Of the random planes.
        anywhere: Whether the surface may lie at any depth of the hull; else it is taken to be its front mostly, from
            which the search starts.
    """
    size = np.array([o.luma.shape for o in others], np.int64).reshape(-1, 2)
    luma = np.zeros((len(others), *size.max(0, initial=1)), np.float32)
    turn, shift = np.empty((len(others), 3, 3)), np.empty((len(others), 3))
    for index, other in enumerate(others):
        luma[index, : size[index, 0], : size[index, 1]] = other.luma
        other_from_view = other.camera.cam_from_world.numpy() @ np.linalg.inv(view.camera.cam_from_world.numpy())
        turn[index] = other.camera.K.numpy() @ other_from_view[:3, :3]
        shift[index] = other.camera.K.numpy() @ other_from_view[:3, 3]
    K = view.camera.K.numpy()
    photo = view.luma, view.near, view.far, np.array([K[0, 0], K[1, 1], K[0, 2], K[1, 2]])
    depth = view.near
    if anywhere:
        part = np.random.default_rng(seed).random(depth.shape, np.float32)
        depth = depth + part * (view.far - depth)
    plane = np.ascontiguousarray(np.concatenate([depth[..., None], view.normal], 2), np.float32)
    cost = np.full(view.luma.shape, np.inf, np.float32)  # not known yet
    for sweep in range(sweeps):
        _sweep(plane, cost, photo, (luma, size, turn, shift), sweep, seed, anywhere)
    return DepthMap(depth=plane[..., 0], normal=plane[..., 1:], cost=cost)


@numba.njit(cache=True, nogil=True)
@no_type_check
def _sweep(plane, cost, photo, others, sweep, seed, anywhere):  # noqa: ANN001, ANN202, PLR0913  # a kernel
    """One pass: each pixel tries the planes of two pixels already visited, and others near its own."""
    image, near, far, intrinsics = photo
    height, width = image.shape
    count = (2 * RADIUS // STRIDE + 1) ** 2
    weights, values, costs = np.empty(count), np.empty(count), np.empty(len(others[1]))
    step = -1 if sweep % 2 == 0 else 1
    for row in range(height):
        y = row if step < 0 else height - 1 - row
        for column in range(width):
            x = column if step < 0 else width - 1 - column
            if near[y, x] <= 0:
                continue
            state = np.uint32(((y * width + x) * 2654435761 + sweep * 40503 + seed * 7919) & 0xFFFFFFFF)
            state, _ = _random(state)
            window = _read_window(image, near, y, x, weights, values)
            ray = _ray(y, x, intrinsics)
            best = cost[y, x]
            now = plane[y, x, 0], plane[y, x, 1], plane[y, x, 2], plane[y, x, 3]
            if best == np.inf:
                best = _plane_cost(now, ray, intrinsics, window, others, costs)
            for trial in range(6):
                if trial < 2:
                    trial_plane = _spread(plane, near, y, x, step, trial, intrinsics)
                else:
                    state, trial_plane = _perturbed(state, now, near[y, x], far[y, x], trial - 2, sweep, anywhere)
                if not near[y, x] <= trial_plane[0] <= far[y, x]:
                    continue
                facing = trial_plane[1] * ray[0] + trial_plane[2] * ray[1] + trial_plane[3]
                if -facing < LEAST_FACING * np.sqrt(ray[0] * ray[0] + ray[1] * ray[1] + 1):
                    continue
                trial_cost = _plane_cost(trial_plane, ray, intrinsics, window, others, costs)
                if trial_cost < best:
                    best, now = trial_cost, trial_plane
            plane[y, x, 0], plane[y, x, 1], plane[y, x, 2], plane[y, x, 3] = now
            cost[y, x] = best


@numba.njit(cache=True, nogil=True)
@no_type_check
def _ray(y, x, intrinsics):  # noqa: ANN001, ANN202  # a kernel
    """Direction through a pixel's centre; its third component is 1."""
    return (x + 0.5 - intrinsics[2]) / intrinsics[0], (y + 0.5 - intrinsics[3]) / intrinsics[1]


@numba.njit(cache=True, nogil=True)
@no_type_check
def _spread(plane, near, y, x, step, trial, intrinsics):  # noqa: ANN001, ANN202, PLR0913  # a kernel
    """The plane of the pixel above (or below), or beside, where this pixel's ray meets it; depth -1 without one."""
    py, px = (y + step, x) if trial == 0 else (y, x + step)
    if not (0 <= py < near.shape[0] and 0 <= px < near.shape[1]) or near[py, px] <= 0:
        return np.float32(-1), plane[y, x, 1], plane[y, x, 2], plane[y, x, 3]
    depth, nx, ny, nz = plane[py, px]
    its, own = _ray(py, px, intrinsics), _ray(y, x, intrinsics)
    depth *= (nx * its[0] + ny * its[1] + nz) / (nx * own[0] + ny * own[1] + nz)
    return np.float32(depth), nx, ny, nz


@numba.njit(cache=True, nogil=True)
@no_type_check
def _perturbed(state, plane, near, far, trial, sweep, anywhere):  # noqa: ANN001, ANN202, PLR0913  # a kernel
    """First any depth between the hull's front and back, mostly near the front if not anywhere; then ever nearer."""
    depth, nx, ny, nz = plane
    state, number = _random(state)
    if trial == 0:
        return state, (np.float32(near + (far - near) * number * (1.0 if anywhere else number)), nx, ny, nz)
    reach = 0.5 ** (2 * (trial - 1) + min(sweep, 4))
    depth += (number - 0.5) * reach * 0.25 * (far - near)
    state, number = _random(state)
    nx += (number - 0.5) * reach
    state, number = _random(state)
    ny += (number - 0.5) * reach
    state, number = _random(state)
    nz += (number - 0.5) * reach
    length = np.sqrt(nx * nx + ny * ny + nz * nz)
    return state, (np.float32(depth), np.float32(nx / length), np.float32(ny / length), np.float32(nz / length))


@numba.njit(cache=True, nogil=True)
@no_type_check
def _random(state):  # noqa: ANN001, ANN202  # a kernel
    """The next state and a number in [0, 1) (PCG's output function on a linear congruential state)."""
    state = np.uint32(state * np.uint32(747796405) + np.uint32(2891336453))
    word = np.uint32(((state >> np.uint32((state >> np.uint32(28)) + np.uint32(4))) ^ state) * np.uint32(277803737))
    word = np.uint32((word >> np.uint32(22)) ^ word)
    return state, word * (1.0 / 4294967296.0)


@numba.njit(cache=True, nogil=True, fastmath=True)
@no_type_check
def _read_window(luma, near, y, x, weights, values):  # noqa: ANN001, ANN202  # a kernel
    """Weights and values of the window around a pixel, the sum of the weights, the mean and the variance."""
    height, width = luma.shape
    center = luma[y, x]
    index, weight_sum, total, squares = 0, 0.0, 0.0, 0.0
    for dy in range(-RADIUS, RADIUS + 1, STRIDE):
        for dx in range(-RADIUS, RADIUS + 1, STRIDE):
            row, column = y + dy, x + dx
            weight = value = 0.0
            if 0 <= row < height and 0 <= column < width and near[row, column] > 0:
                value = luma[row, column]
                far = (dx * dx + dy * dy) / (2.0 * RADIUS * RADIUS)
                weight = np.exp(-abs(value - center) / COLOR_SIGMA - far)
            weights[index], values[index] = weight, value
            weight_sum += weight
            total += weight * value
            squares += weight * value * value
            index += 1
    mean = total / weight_sum
    return weights, values, weight_sum, mean, max(squares / weight_sum - mean * mean, 0.0)


@numba.njit(cache=True, nogil=True, fastmath=True)
@no_type_check
def _plane_cost(plane, ray, intrinsics, window, others, costs):  # noqa: ANN001, ANN202  # a kernel
    """The mean cost in the neighbours that the plane suits best; more where few show it."""
    found = 0
    for k in range(len(others[1])):
        cost = _cost_in(k, plane, ray, intrinsics, window, others)
        if cost >= 0:
            costs[found] = cost
            found += 1
    if found == 0:
        return WORST
    count, total = min(BEST, found), 0.0
    for a in range(count):
        for b in range(a + 1, found):
            if costs[b] < costs[a]:
                costs[a], costs[b] = costs[b], costs[a]
        total += costs[a]
    return total / count + UNSHOWN * (BEST - count)


@numba.njit(cache=True, nogil=True, fastmath=True)
@no_type_check
def _linear(m, t, ray, depth, sx, sy, intrinsics):  # noqa: ANN001, ANN202, PLR0913  # a kernel
    """One coordinate of a window's middle in a neighbour, and its change by a pixel to the right and down."""
    return (
        m[0] * ray[0] + m[1] * ray[1] + m[2] + t / depth,
        (m[0] + t * sx) / intrinsics[0],
        (m[1] + t * sy) / intrinsics[1],
    )


@numba.njit(cache=True, nogil=True, fastmath=True)
@no_type_check
def _cost_in(k, plane, ray, intrinsics, window, others):  # noqa: ANN001, ANN202  # a kernel
    """1 - weighted correlation of a window with its image in neighbour k under a plane; -1 where that is not shown.

    A point of the plane is (ray + offset) times its depth; its image is linear in the offset, before the division.
    """
    weights, values, weight_sum, mean, variance = window
    luma, m, t = others[0][k], others[2][k], others[3][k]
    height, width = others[1][k]
    depth = plane[0]
    scale = 1.0 / (depth * (plane[1] * ray[0] + plane[2] * ray[1] + plane[3]))
    sx, sy = plane[1] * scale, plane[2] * scale
    x_base, x_right, x_down = _linear(m[0], t[0], ray, depth, sx, sy, intrinsics)
    y_base, y_right, y_down = _linear(m[1], t[1], ray, depth, sx, sy, intrinsics)
    z_base, z_right, z_down = _linear(m[2], t[2], ray, depth, sx, sy, intrinsics)
    total = squares = product = 0.0
    index = -1
    for dy in range(-RADIUS, RADIUS + 1, STRIDE):
        for dx in range(-RADIUS, RADIUS + 1, STRIDE):
            index += 1
            weight = weights[index]
            if weight <= 0:
                continue
            z = z_base + dx * z_right + dy * z_down
            if z <= 1e-9:
                return -1.0
            x = (x_base + dx * x_right + dy * x_down) / z - 0.5
            y = (y_base + dx * y_right + dy * y_down) / z - 0.5
            if x < 0 or y < 0 or x >= width - 1 or y >= height - 1:
                return -1.0
            x0, y0 = int(x), int(y)
            ax, ay = x - x0, y - y0
            top = luma[y0, x0] * (1 - ax) + luma[y0, x0 + 1] * ax
            bottom = luma[y0 + 1, x0] * (1 - ax) + luma[y0 + 1, x0 + 1] * ax
            value = top * (1 - ay) + bottom * ay
            total += weight * value
            squares += weight * value * value
            product += weight * value * values[index]
    other_mean = total / weight_sum
    norm = variance * (squares / weight_sum - other_mean * other_mean)
    return max(0.0, 1.0 - (product / weight_sum - other_mean * mean) / np.sqrt(norm)) if norm > 1e-14 else 1.0
