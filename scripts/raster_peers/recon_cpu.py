"""The embedded rasteriser."""

from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.raster.cpu import CpuRasterizer
from raster_peers.scene import Scene, clip_matrix


def recon_step(scene: Scene, *, closed: bool = True, search: int = 32) -> Callable[[], Tensor]:
    """Rasterise, interpolate and antialias, and back from the squared error to the vertices.

    Args:
        scene: What to draw.
        closed: Leave out faces seen from behind, as DEODR has to (same picture; the sphere is closed).
        search: How far silhouettes are searched for.
    """
    rasterizer, to_clip, size = CpuRasterizer(), clip_matrix(), (scene.size_px, scene.size_px)
    topology = rasterizer.topology(scene.faces)

    def step() -> Tensor:
        vertices = scene.vertices.clone().requires_grad_()
        clip = (vertices @ to_clip[:, :3].mT + to_clip[:, 3])[None]
        raster = rasterizer.rasterize(clip, scene.faces, size_px=size, closed=closed)
        color = rasterizer.interpolate(scene.colors, raster, scene.faces)
        image = rasterizer.antialias(color, raster, clip, scene.faces, topology=topology, search=search)
        torch.nn.functional.mse_loss(image[0], scene.target).backward()
        return vertices.grad

    return step
