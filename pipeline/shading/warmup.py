"""Exercise the shading kernels, so that they are compiled, or loaded from numba's cache, ahead of use."""

import torch

from pipeline.scene import Environment
from pipeline.shading.fused import fused_shade, fused_visible_share
from pipeline.shading.gather import gathered, transfer, transfer_at, weighted_rows
from pipeline.shading.prefilter import prefilter


def exercise_shading() -> None:
    """Call every kernel once on a point or two."""
    light = prefilter(Environment(coefficients=torch.ones(32 * 32, 3, requires_grad=True), basis="octahedral"))
    vector, scalar = torch.ones(1, 3, requires_grad=True), torch.full((1,), 0.5, requires_grad=True)
    up = torch.tensor([[0.0, 1.0, 0.0]])
    corners, weights = torch.zeros(1, 3, dtype=torch.int64), torch.ones(1, 3, requires_grad=True)
    share = fused_visible_share(torch.ones(1, 2, 16), (0.0, 1.0), (corners, weights), (up, up, scalar))
    color = fused_shade(light, (share, vector, vector), (vector, scalar, scalar, up, up))
    rows = weighted_rows(vector, corners, weights)
    at = (corners, weights.detach())
    turned = transfer_at(torch.ones(1, 1), at, vector[None], torch.zeros(1, dtype=torch.int64))
    (color + rows + transfer(torch.ones(1, 1), vector) + turned).sum().backward()
    gathered(torch.ones(1, 1), torch.zeros(1, 1, dtype=torch.int32), vector)
