"""How the kernels of this folder are compiled, and how many threads they use.

A kernel carries `@no_type_check` below its decorator: the jaxtyping import hook of the test run would
otherwise wrap the function before numba sees it. A helper lives in the file of its kernels, because
numba's disk cache notices changes of that one file only.
"""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import no_type_check

import numba
import torch
from numba import prange
from numba.core import event

__all__ = [
    "helper",
    "kernel",
    "no_type_check",
    "on_first_compilation",
    "prange",
    "serial_kernel",
    "thread_count",
    "use_torch_threads",
]

# No fastmath: the shared edge of two triangles must round alike for both, or pixels are lost or hit twice.
kernel = functools.partial(numba.njit, cache=True, parallel=True, nogil=True, error_model="numpy")
"""Decorator of an entry point: parallel, cached on disk, divisions by zero give inf or nan."""

serial_kernel = functools.partial(numba.njit, cache=True, nogil=True, error_model="numpy")
"""Decorator of an entry point that runs on one thread."""

helper = functools.partial(numba.njit, nogil=True, error_model="numpy")
"""Decorator of a serial function that kernels of the same file call."""


def use_torch_threads() -> None:
    """Give the kernels as many threads as torch may use, as far as numba started that many."""
    started = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined] # set while numba is imported
    wanted = torch.get_num_threads()
    numba.set_num_threads(max(1, min(wanted, started)))
    if torch.get_num_threads() != wanted:  # starting numba's pool raises the limit of the one that torch shares with it
        torch.set_num_threads(wanted)


def thread_count() -> int:
    """How many threads the kernels use now."""
    return numba.get_num_threads()


class _Once(event.Listener):
    """Calls back at the first event."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback: Callable[[], None] | None = callback

    def on_start(self, event: event.Event) -> None:
        """Call back, once."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()

    def on_end(self, event: event.Event) -> None:
        """Do nothing."""


def on_first_compilation(callback: Callable[[], None]) -> AbstractContextManager[None]:
    """A context in which `callback` is called before numba first compiles something it has not cached."""
    return event.install_listener("numba:compile", _Once(callback))
