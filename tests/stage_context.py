"""A context for calling one stage alone, and pictures for it to read."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from pipeline.config import RuntimeConfig
from pipeline.runtime import make_runtime
from pipeline.scene import Capture, View
from pipeline.workspace import StageContext


def make_context(folder: Path) -> tuple[StageContext, list[str]]:
    """A context that writes into `folder`, and the list that its warnings go to."""
    folder.mkdir(parents=True, exist_ok=True)
    warnings: list[str] = []
    context = StageContext(
        folder=folder,
        runtime=make_runtime(RuntimeConfig(device="cpu")),
        progress=lambda fraction, note: None,
        metrics={},
        show=lambda picture: None,
        warn=warnings.append,
    )
    return context, warnings


def picture(seed: int, width: int = 40, height: int = 30) -> Image.Image:
    """A photo of noise; each seed has its own."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def write_photos(folder: Path, *names: str) -> Path:
    """Different pictures of one size under these names; returns `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        kind = {"jpg": "JPEG", "jpeg": "JPEG"}.get(name.rpartition(".")[2].lower(), "PNG")
        picture(seed).save(folder / name, kind)
    return folder


def posed(views: list[View], points: torch.Tensor | None = None, *, given: bool = True) -> Capture:
    """A capture as the poses stage leaves it."""
    nothing = torch.zeros(0, 3, dtype=torch.float64)
    return Capture(
        views=tuple(views),
        points=nothing if points is None else points,
        point_colors=nothing if points is None else torch.zeros_like(points),
        object_box=torch.full((2, 3), torch.nan, dtype=torch.float64),
        world_from_input=torch.eye(4, dtype=torch.float64),
        metres_per_unit=None,
        poses_given=given,
    )


def run_until(fit: Any, path: Path, stop: int) -> None:
    """Run a fit that steps by `advance` from its checkpoint at `path`, interrupted before step `stop`."""
    advance = fit.advance

    def stopping() -> float:
        if fit.step == stop:
            raise KeyboardInterrupt
        return float(advance())

    fit.advance = stopping
    fit.run(path, lambda part, note: None)
