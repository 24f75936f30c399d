"""Votes of many images about voxels."""

from typing import no_type_check

import numba
import numpy as np
from jaxtyping import Float

from pipeline.scene import Camera


def sum_votes(  # noqa: PLR0913  # one grid, and how to look at it
    cameras: list[Camera],
    images: list[Float[np.ndarray, "_ _ 3"]],
    origin: Float[np.ndarray, "3"],
    spacing: float,
    shape: tuple[int, int, int],
    clearance: float,
    certainty: float,
) -> Float[np.ndarray, "nx ny nz 3"]:
    """Votes against each voxel, all votes, and the number of images that frame its centre.

    Args:
        cameras: One per image, for its size.
        images: The vote against what is on a pixel's ray; the weight of that vote; and the depth of a surface
            that the pixel is known to show, or 0: what is nearer by more than `clearance` gets the whole weight
            against it, as it would hide the surface; what is at the surface gets `certainty` for it.
        origin: Centre of the first voxel.
        spacing: Distance of neighbouring centres, world units.
        shape: Voxels along x, y and z.
        clearance: World units.
        certainty: Weight of a surface for what is within `clearance` of it.
    """
    limits = np.array([clearance, certainty])
    sums = np.zeros((*shape, 3), np.float32)
    for camera, image in zip(cameras, images, strict=True):
        image_from_world = (camera.K @ camera.cam_from_world[:3]).numpy()
        _vote_kernel(sums, np.ascontiguousarray(image, np.float32), image_from_world, origin, spacing, limits)
    return sums


@numba.njit(cache=True, nogil=True, parallel=True)
@no_type_check
def _vote_kernel(sums, image, image_from_world, origin, spacing, limits):  # noqa: ANN001, ANN202  # a kernel
    m = image_from_world
    clearance, certainty = limits
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
                a, b, c, d = image[y0, x0], image[y0, x0 + 1], image[y0 + 1, x0], image[y0 + 1, x0 + 1]
                against = (a[0] * (1 - fx) + b[0] * fx) * (1 - fy) + (c[0] * (1 - fx) + d[0] * fx) * fy
                weight = (a[1] * (1 - fx) + b[1] * fx) * (1 - fy) + (c[1] * (1 - fx) + d[1] * fx) * fy
                surface = image[int(y + 0.5), int(x + 0.5), 2]
                if w < surface - clearance:
                    against = weight
                elif abs(w - surface) < clearance:
                    weight += certainty
                sums[i, j, k, 0] += against
                sums[i, j, k, 1] += weight
                sums[i, j, k, 2] += 1
