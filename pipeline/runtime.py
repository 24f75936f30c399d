"""Device, precision, seed, threads and rasteriser: chosen once per run."""

import os
import platform
from dataclasses import dataclass
from importlib import metadata

import torch

from pipeline import __version__
from pipeline.config import RuntimeConfig
from pipeline.errors import ResourceError
from pipeline.raster.rasterizer import Rasterizer


@dataclass(frozen=True, eq=False, kw_only=True)
class Runtime:
    """The chosen device and backends; tensors inherit their device from here."""

    device: torch.device
    dtype: torch.dtype
    seed: int
    threads: int
    rasterizer: Rasterizer

    def generator(self) -> torch.Generator:
        """A new random generator with the run's seed."""
        return torch.Generator(device=self.device).manual_seed(self.seed)


def make_runtime(config: RuntimeConfig) -> Runtime:
    """Choose the device and load the rasteriser.

    Raises:
        ResourceError: When a GPU was asked for and none works.
    """
    threads = config.threads or os.cpu_count() or 1
    torch.set_num_threads(threads)
    torch.manual_seed(config.seed)
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ResourceError(
            f"runtime.device=cuda, but torch {torch.__version__} finds no working GPU",
            remedy="install a CUDA build of torch, or leave the device to auto",
        )
    cuda = config.device != "cpu" and torch.cuda.is_available()
    from pipeline.raster.cpu import CpuRasterizer  # numba takes half a second to import

    return Runtime(
        device=torch.device("cuda" if cuda else "cpu"),
        dtype=torch.float32,
        seed=config.seed,
        threads=threads,
        rasterizer=CpuRasterizer(),
    )


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that shape a result."""
    names = ("torch", "numpy", "numba", "pycolmap", "opencv-python-headless", "xatlas", "uvunwrap")
    found = {"recon": __version__, "python": platform.python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
