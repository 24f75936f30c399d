"""Cutting an image into two along its edges: the convex form of the minimum cut.

Minimises, over u in [0, 1], the sum of g |grad u| - e u, where e is the evidence for u = 1 and g is small on
the image's edges. Any threshold of the minimiser is a minimum cut (Chan, Esedoglu and Nikolova 2006, theorem
2); the iteration is the primal-dual one of Chambolle and Pock (2011, algorithm 1).
"""

from typing import no_type_check

import numba
import numpy as np
from jaxtyping import Float

STEP = 0.35  # both step sizes: their product times the squared norm of the gradient, 8, must stay below 1


def soft_cut(
    evidence: Float[np.ndarray, "height width"],
    edges: Float[np.ndarray, "height width"],
    start: Float[np.ndarray, "height width"],
    *,
    iterations: int = 100,
) -> Float[np.ndarray, "height width"]:
    """The soft labels u in [0, 1] that follow `evidence` with short borders.

    Args:
        evidence: Log-odds of u = 1.
        edges: The price g of a unit of border; small where the image has an edge.
        start: Labels to start from: near ones save iterations.
        iterations: Steps of the algorithm.
    """
    labels = np.ascontiguousarray(start, np.float32).copy()
    _cut_kernel(
        np.ascontiguousarray(evidence, np.float32),
        np.ascontiguousarray(edges, np.float32),
        labels,
        labels.copy(),
        np.zeros((2, *labels.shape), np.float32),
        iterations,
    )
    return labels


@numba.njit(cache=True, nogil=True, fastmath=True)
@no_type_check
def _cut_kernel(evidence, edges, labels, leading, flow, iterations):  # noqa: ANN001, ANN202  # a kernel
    height, width = labels.shape
    step = np.float32(STEP)
    one, zero = np.float32(1.0), np.float32(0.0)
    for _ in range(iterations):
        for y in range(height):
            below = min(y + 1, height - 1)
            for x in range(width):
                right = min(x + 1, width - 1)
                fx = flow[0, y, x] + step * (leading[y, right] - leading[y, x])
                fy = flow[1, y, x] + step * (leading[below, x] - leading[y, x])
                g = edges[y, x]
                shrink = g / max(g, np.sqrt(fx * fx + fy * fy) + np.float32(1e-12))
                flow[0, y, x] = fx * shrink
                flow[1, y, x] = fy * shrink
        for y in range(height):
            for x in range(width):
                divergence = flow[0, y, x] + flow[1, y, x]
                if x > 0:
                    divergence -= flow[0, y, x - 1]
                if y > 0:
                    divergence -= flow[1, y - 1, x]
                old = labels[y, x]
                new = min(one, max(zero, old + step * (divergence + evidence[y, x])))
                labels[y, x] = new
                leading[y, x] = new + new - old
