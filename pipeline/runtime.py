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

NVDIFFRAST = ("nvdiffrast", "diffrp-nvdiffrast")  # upstream's name, and that of the copy in the extra `gpu`


@dataclass(frozen=True, eq=False, kw_only=True)
class Runtime:
    """The chosen device and backends; tensors inherit their device from here.

    Attributes:
        device: Where tensors are made.
        dtype: Their type.
        seed: Seed of every random choice.
        threads: CPU threads.
        rasterizer: The backend.
        note: On a machine with a GPU, one line for the user: which backend was taken, why, and what that changes.
    """

    device: torch.device
    dtype: torch.dtype
    seed: int
    threads: int
    rasterizer: Rasterizer
    note: str = ""

    def generator(self) -> torch.Generator:
        """A new random generator with the run's seed."""
        return torch.Generator(device=self.device).manual_seed(self.seed)


def make_runtime(config: RuntimeConfig) -> Runtime:
    """Choose the device and load the rasteriser.

    Raises:
        ResourceError: When a GPU or nvdiffrast was asked for and does not work, or the two settings contradict.
    """
    threads = config.threads or os.cpu_count() or 1
    torch.set_num_threads(threads)
    torch.manual_seed(config.seed)
    rasterizer, device, note = _backend(config.device, config.rasterizer)
    return Runtime(
        device=device, dtype=torch.float32, seed=config.seed, threads=threads, rasterizer=rasterizer, note=note
    )


def on_gpu(config: RuntimeConfig) -> bool:
    """Whether a run with these settings computes on a GPU; errors as in `make_runtime`."""
    return _backend(config.device, config.rasterizer)[1].type == "cuda"


def _backend(device: str, rasterizer: str) -> tuple[Rasterizer, torch.device, str]:
    """The rasteriser, the device that it computes on, and the note for the user."""
    gpu = torch.cuda.is_available()
    _refuse_the_impossible(device, rasterizer, gpu=gpu)
    if device == "cpu" or not gpu:
        return _embedded(), torch.device("cpu"), ""
    if rasterizer == "cpu":
        return _embedded(), torch.device("cpu"), "rasteriser: cpu (as set); the run leaves the GPU idle"
    try:
        return _on_gpu()
    except ResourceError as error:
        if device == "cuda" or rasterizer == "nvdiffrast":
            raise
        note = f"rasteriser: cpu ({error.what}); the run leaves the GPU idle: the same results, slower"
        return _embedded(), torch.device("cpu"), note


def _refuse_the_impossible(device: str, rasterizer: str, *, gpu: bool) -> None:
    """Raise `ResourceError` for settings that this machine, or each other, cannot fulfil."""
    no_gpu = f"torch {torch.__version__} finds no working GPU"
    if device == "cuda" and not gpu:
        raise ResourceError(
            f"runtime.device=cuda, but {no_gpu}",
            remedy="install a CUDA build of torch, or leave the device to auto",
        )
    if device == "cuda" and rasterizer == "cpu":
        raise ResourceError(
            "runtime.device=cuda, but runtime.rasterizer=cpu computes on the CPU", remedy="leave one of them to auto"
        )
    if rasterizer == "nvdiffrast" and (device == "cpu" or not gpu):
        raise ResourceError(
            f"runtime.rasterizer=nvdiffrast needs CUDA, but {'runtime.device=cpu' if device == 'cpu' else no_gpu}",
            remedy="runtime.rasterizer=cpu gives the same results without a GPU, slower",
        )


def _embedded() -> Rasterizer:
    from pipeline.raster.cpu import CpuRasterizer  # numba takes half a second to import

    return CpuRasterizer()


def _on_gpu() -> tuple[Rasterizer, torch.device, str]:
    from pipeline.raster.nvdiffrast_backend import NvdiffrastRasterizer, load_nvdiffrast

    device = torch.device("cuda")
    rasterizer = NvdiffrastRasterizer(load_nvdiffrast(), device)
    licence = "its licence allows research and evaluation only; runtime.rasterizer=cpu has no such limit"
    return rasterizer, device, f"rasteriser: nvdiffrast ({licence})"


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that shape a result."""
    names = ("torch", "numpy", "numba", "pycolmap", "opencv-python-headless", "xatlas", "uvunwrap", *NVDIFFRAST)
    found = {"recon": __version__, "python": platform.python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
