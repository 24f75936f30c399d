"""The embedded rasteriser for machines without a GPU."""

from pipeline.raster.cpu.backend import CpuRasterizer
from pipeline.raster.cpu.jit import on_first_compilation
from pipeline.raster.cpu.warmup import exercise_rasterizer

__all__ = ["CpuRasterizer", "exercise_rasterizer", "on_first_compilation"]
