"""PyTorch3D's CPU rasteriser: every pixel against every triangle. No CPU wheel exists; used where it imports."""

from collections.abc import Callable

import torch
from torch import Tensor

from raster_peers.scene import Scene


def pytorch3d_step(scene: Scene) -> Callable[[], Tensor]:
    """Rasterise the nearest face and interpolate; back from the squared error to the vertices."""
    from pytorch3d import _C

    faces = scene.faces.long()
    first, count = torch.zeros(1, dtype=torch.long), torch.tensor([len(faces)])
    no_neighbour = torch.full((len(faces),), -1, dtype=torch.int64)
    flip = torch.tensor([-1.0, -1.0, 1.0])  # its x grows to the left and its y upwards

    class Rasterize(torch.autograd.Function):
        @staticmethod
        def forward(ctx, corners: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN001
            size = (scene.size_px, scene.size_px)
            options = (size, 0.0, 1, 0, 0, True, False, False)
            ids, depth, weights, distance = _C.rasterize_meshes(corners, first, count, no_neighbour, *options)
            ctx.save_for_backward(corners, ids)
            ctx.mark_non_differentiable(ids)
            return ids, depth, weights, distance

        @staticmethod
        def backward(ctx, _: Tensor, depth: Tensor, weights: Tensor, distance: Tensor) -> Tensor:  # noqa: ANN001
            corners, ids = ctx.saved_tensors
            return _C.rasterize_meshes_backward(corners, ids, depth, weights, distance, True, False)

    def step() -> Tensor:
        vertices = scene.vertices.clone().requires_grad_()
        scale = 2 * scene.focal_px / scene.size_px
        screen = torch.cat([vertices[:, :2] * scale / vertices[:, 2:], vertices[:, 2:]], 1) * flip
        ids, _, weights, _ = Rasterize.apply(screen[faces])
        color = (weights[..., None] * scene.colors[faces[ids.clamp_min(0)]]).sum(-2)
        image = (color * (ids >= 0)[..., None]).sum(-2)
        torch.nn.functional.mse_loss(image[0], scene.target).backward()
        return vertices.grad

    return step
