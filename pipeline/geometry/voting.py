"""Votes of many images about voxels."""

from typing import no_type_check

import numba
import numpy as np
from jaxtyping import Float

from pipeline.scene import Camera


def sum_votes(
    cameras: list[Camera],
    images: list[Float[np.ndarray, "_ _ 2"]],
    origin: Float[np.ndarray, "3"],
    spacing: float,
    shape: tuple[int, int, int],
) -> Float[np.ndarray, "nx ny nz 3"]:
    """Sum of two channels over the images, and the number of images, that see each voxel's centre.

    Args:
        cameras: One per image, for its size.
        images: The two channels, looked up bilinearly.
        origin: Centre of the first voxel.
        spacing: Distance of neighbouring centres, world units.
        shape: Voxels along x, y and z.
    """
    sums = np.zeros((*shape, 3), np.float32)
    for camera, image in zip(cameras, images, strict=True):
        image_from_world = (camera.K @ camera.cam_from_world[:3]).numpy()
        _vote_kernel(sums, np.ascontiguousarray(image, np.float32), image_from_world, origin, spacing)
    return sums


@numba.njit(cache=True, nogil=True, parallel=True)
@no_type_check
def _vote_kernel(sums, image, image_from_world, origin, spacing):  # noqa: ANN001, ANN202  # a kernel
    m = image_from_world
    height, width = image.shape[:2]
    for i in numba.prange(sums.shape[0]):
        px = origin[0] + i * spacing
        for j in range(sums.shape[1]):
            py = origin[1] + j * spacing
            for k in range(sums.shape[2]):
                pz = origin[2] + k * spacing
                w = m[2, 0] * px + m[2, 1] * py + m[2, 2] * pz + m[2, 3]
                if w <= 1e-9:
                    continue
                x = (m[0, 0] * px + m[0, 1] * py + m[0, 2] * pz + m[0, 3]) / w - 0.5
                y = (m[1, 0] * px + m[1, 1] * py + m[1, 2] * pz + m[1, 3]) / w - 0.5
                if x < 0 or y < 0 or x > width - 1 or y > height - 1:
                    continue
                x0, y0 = min(int(x), width - 2), min(int(y), height - 2)
                fx, fy = x - x0, y - y0
                for c in range(2):
                    top = image[y0, x0, c] * (1 - fx) + image[y0, x0 + 1, c] * fx
                    bottom = image[y0 + 1, x0, c] * (1 - fx) + image[y0 + 1, x0 + 1, c] * fx
                    sums[i, j, k, c] += top * (1 - fy) + bottom * fy
                sums[i, j, k, 2] += 1
