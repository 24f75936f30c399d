"""recon: photos of an object in, an engine-ready asset out."""

import os
import zlib  # noqa: F401  # before pycolmap, whose wheel exports a zlib of its own that breaks PNG writing

# Before torch is imported: its OpenMP pool and numba's would otherwise spin against each other.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("NUMBA_THREADING_LAYER", "omp")

__version__ = "0.1.0"
