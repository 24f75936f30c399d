"""Compile the kernels ahead of use, and say so when that takes a while."""

from collections.abc import Callable

from pipeline.raster.cpu import exercise_rasterizer, on_first_compilation
from pipeline.shading.warmup import exercise_shading


def compile_kernels(announce: Callable[[str], None]) -> None:
    """Load the kernels of runs and renders from numba's disk cache, or compile them; `announce` is told before that."""
    message = "compiling the renderer (a minute or two, once: the result is cached on disk)"
    with on_first_compilation(lambda: announce(message)):
        exercise_rasterizer()
        exercise_shading()
