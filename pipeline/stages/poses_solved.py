"""Poses solved by structure from motion, in a child process."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pipeline.child import run_child
from pipeline.config import PosesConfig
from pipeline.errors import NativeCrashError
from pipeline.scene import Camera, Photo, Photos, View
from pipeline.stages.poses_view import photo_record, still_view
from pipeline.workspace import StageContext

SOLVER = "pipeline.stages.sfm:solve"


@dataclass(frozen=True, kw_only=True)
class Cause:
    """Why photos found no pose, and what to do about it; empty when most found one."""

    what: str = ""
    remedy: str = ""


@dataclass(frozen=True, eq=False, kw_only=True)
class Solved:
    """What structure from motion found.

    Attributes:
        views: The placed photos, undistorted.
        points: Sparse points in the frame of COLMAP's model.
        point_colors: Their sRGB colours in [0, 1].
        cause: The likeliest reason why many photos found no pose.
    """

    views: list[View]
    points: torch.Tensor
    point_colors: torch.Tensor
    cause: Cause


def solved_views(photos: Photos, config: PosesConfig, context: StageContext) -> Solved:
    """Run structure from motion in a child process and read what it left.

    Raises:
        CaptureError: When no pair of photos starts a reconstruction.
        NativeCrashError: When the child died twice.
    """
    figures = _solve(photos, config, context)
    for told in figures["warnings"]:
        context.warn(told)
    context.metrics["reprojection_px"] = figures["reprojection_px"]
    context.metrics.update({f"placed by {rung}": count for rung, count in figures["placed"].items()})
    if len(figures["placed"]) > 1:
        tried = ", ".join(f"{rung} {count}" for rung, count in figures["placed"].items())
        context.warn(f"few photos found a pose at first; tried (photos placed): {tried}")
    saved = json.loads((context.folder / "sfm.json").read_text(encoding="utf-8"))
    named = {p.name: p for p in photos.photos}
    views = [_view(named[v["name"]], v, context) for v in saved["views"]]
    return Solved(
        views=views,
        points=torch.from_numpy(np.asarray(saved["points"], np.float64).reshape(-1, 3)),
        point_colors=torch.from_numpy(np.asarray(saved["point_colors"], np.float64).reshape(-1, 3) / 255),
        cause=Cause(**(figures["diagnosis"] or {})),
    )


def _solve(photos: Photos, config: PosesConfig, context: StageContext) -> dict[str, Any]:
    """Run the child; one that died gets a second try: a signal from outside or a lack of memory may pass."""
    log = context.folder / "sfm.log"
    arguments = {
        "folder": str(context.folder),
        "photos": [photo_record(p) for p in photos.photos],
        "config": vars(config),
        "seed": context.runtime.seed,
        "threads": context.runtime.threads,
    }

    def run() -> dict[str, Any]:
        limits = {"timeout_s": config.timeout_s, "stall_s": config.stall_s}
        return run_child(SOLVER, arguments, log=log, progress=context.progress, **limits)

    try:
        return run()
    except NativeCrashError as error:
        context.warn(f"structure from motion is tried once more: {error.what}")
        return run()


def _view(photo: Photo, record: dict[str, Any], context: StageContext) -> View:
    camera = Camera(
        K=torch.tensor(record["K"], dtype=torch.float64),
        cam_from_world=torch.tensor(record["cam_from_world"], dtype=torch.float64),
        width=record["width"],
        height=record["height"],
    )
    mask = record["mask_path"] and context.folder / "masks" / record["mask_path"]
    return still_view(photo, context.folder / "images" / record["image_path"], mask, camera)
