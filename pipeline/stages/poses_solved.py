"""Poses solved by structure from motion, in a child process."""

import json
from typing import Any

import numpy as np
import torch

from pipeline.child import run_child
from pipeline.config import PosesConfig
from pipeline.scene import Camera, Photos, View
from pipeline.stages.poses_view import photo_record, still_view
from pipeline.workspace import StageContext


def solved_views(
    photos: Photos, config: PosesConfig, context: StageContext
) -> tuple[list[View], torch.Tensor, torch.Tensor]:
    """Run structure from motion in a child process and read what it left."""
    arguments: dict[str, Any] = {
        "folder": str(context.folder),
        "photos": [photo_record(p) for p in photos.photos],
        "max_image_px": config.max_image_px,
        "max_features": config.max_features,
        "camera_model": config.camera_model,
        "seed": context.runtime.seed,
        "threads": context.runtime.threads,
    }
    figures = run_child(
        "pipeline.stages.sfm:solve",
        arguments,
        timeout_s=config.timeout_s,
        log=context.folder / "sfm.log",
        progress=context.progress,
    )
    context.metrics["reprojection_px"] = figures["reprojection_px"]
    saved = json.loads((context.folder / "sfm.json").read_text(encoding="utf-8"))
    named = {p.name: p for p in photos.photos}
    views = []
    for v in saved["views"]:
        camera = Camera(
            K=torch.tensor(v["K"], dtype=torch.float64),
            cam_from_world=torch.tensor(v["cam_from_world"], dtype=torch.float64),
            width=v["width"],
            height=v["height"],
        )
        mask = v["mask_path"] and context.folder / "masks" / v["mask_path"]
        views.append(still_view(named[v["name"]], context.folder / "images" / v["image_path"], mask, camera))
    points = torch.from_numpy(np.asarray(saved["points"], np.float64).reshape(-1, 3))
    colors = torch.from_numpy(np.asarray(saved["point_colors"], np.float64).reshape(-1, 3) / 255)
    return views, points, colors
