"""Compile the kernels ahead of use, and say so when that takes a while."""

from collections.abc import Callable
from pathlib import Path

import torch

from pipeline.raster.cpu import coverage, interpolation
from pipeline.raster.cpu.backend import CpuRasterizer

_KERNELS = (
    coverage.project,
    coverage.count_bands,
    coverage.fill_bands,
    coverage.cover_bands,
    coverage.resolve,
    interpolation.interpolate_rows,
)


def kernels_cached() -> bool:
    """Whether numba's disk cache holds every kernel, no older than its source file."""
    for kernel in _KERNELS:
        source = Path(kernel.py_func.__code__.co_filename)
        index = f"{source.stem}.{kernel.py_func.__qualname__}-*.nbi"
        cached = list(Path(kernel.stats.cache_path).glob(index))
        if not cached or max(path.stat().st_mtime for path in cached) < source.stat().st_mtime:
            return False
    return True


def compile_kernels(announce: Callable[[str], None]) -> None:
    """Load or compile the float32 kernels on a tiny scene; `announce` is told before a compilation."""
    if not kernels_cached():
        announce("compiling the rasteriser (about half a minute, once: the result is cached on disk)")
    clip = torch.tensor([[[-1.0, -1.0, 0.0, 1.0], [1.0, -1.0, 0.0, 1.0], [0.0, 1.0, 0.0, 1.0]]])
    faces = torch.tensor([[0, 1, 2]])
    rasterizer = CpuRasterizer()
    raster = rasterizer.rasterize(clip, faces, size_px=(4, 4))
    rasterizer.interpolate(clip[0], raster, faces)
