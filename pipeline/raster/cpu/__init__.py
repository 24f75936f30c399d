"""The embedded rasteriser for machines without a GPU."""

from pipeline.raster.cpu.backend import CpuRasterizer
from pipeline.raster.cpu.warmup import compile_kernels

__all__ = ["CpuRasterizer", "compile_kernels"]
