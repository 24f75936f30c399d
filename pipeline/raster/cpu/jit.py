"""How the kernels of this folder are compiled, and how many threads they use.

A kernel carries `@no_type_check` below its decorator: the jaxtyping import hook of the test run would
otherwise wrap the function before numba sees it. A helper lives in the file of its kernels, because
numba's disk cache notices changes of that one file only.
"""

import functools
from typing import no_type_check

import numba
import torch
from numba import prange

__all__ = ["helper", "kernel", "no_type_check", "prange", "use_torch_threads"]

# No fastmath: the shared edge of two triangles must round alike for both, or pixels are lost or hit twice.
kernel = functools.partial(numba.njit, cache=True, parallel=True, nogil=True, error_model="numpy")
"""Decorator of an entry point: parallel, cached on disk, divisions by zero give inf or nan."""

helper = functools.partial(numba.njit, nogil=True, error_model="numpy")
"""Decorator of a serial function that kernels of the same file call."""


def use_torch_threads() -> None:
    """Give the kernels as many threads as torch may use, as far as numba started that many."""
    started = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined] # set while numba is imported
    numba.set_num_threads(max(1, min(torch.get_num_threads(), started)))
