"""Exercise the rasteriser's kernels, so that they are compiled, or loaded from numba's cache, ahead of use."""

import torch

from pipeline.raster.cpu.backend import CpuRasterizer
from pipeline.raster.rasterizer import Sampling


def exercise_rasterizer() -> None:
    """Call every kernel once on a tiny scene, but those of the soft mode: runs do without, and they take 10 s more."""
    clip = torch.tensor([[[-1.0, -1.0, 0.0, 1.0], [1.0, -1.0, 0.0, 1.0], [0.0, 1.0, 0.0, 1.0]]], requires_grad=True)
    faces = torch.tensor([[0, 1, 2]])
    rasterizer = CpuRasterizer()
    raster = rasterizer.rasterize(clip, faces, size_px=(4, 4), derivatives=True)
    slopes = rasterizer.interpolate_derivatives(clip[0, :, :2], raster, faces)
    uv = rasterizer.interpolate(clip[0, :, :2], raster, faces)
    maps = torch.ones(1, 2, 2, 3, requires_grad=True)
    color = rasterizer.texture(maps, uv, derivatives=slopes, sampling=Sampling(filtering="mip"))
    rasterizer.antialias(color, raster, clip, faces).sum().backward()
