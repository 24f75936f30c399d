"""Poses: read the ones that came along, or have COLMAP find them; then settle the world."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.child import run_child
from pipeline.config import PosesConfig
from pipeline.errors import CaptureError, InputError
from pipeline.formats import capture_json, transforms_json
from pipeline.scene import Camera, Capture, Photos, View
from pipeline.stages.poses_world import settle
from pipeline.workspace import Stage, StageContext

WARN_REGISTERED = 0.8


def find_poses(photos: Photos, config: PosesConfig, context: StageContext) -> Capture:
    """Pose every photo and move the capture into the settled world (+Y up, object near the origin, unit size).

    Raises:
        CaptureError: When fewer photos than `config.min_registered` find a pose.
        InputError: When a file of poses names none of the photos, or holds an impossible pose.
    """
    if photos.poses_path is not None:
        views = _given_views(photos, photos.poses_path, context)
        points = colors = torch.zeros(0, 3, dtype=torch.float64)
        given = True
    else:
        views, points, colors = _solved_views(photos, config, context)
        given = False
    missing = [p.name for p in photos.photos if p.name not in {v.name for v in views}]
    share = len(views) / len(photos.photos)
    listed = ", ".join(missing[:6]) + (" ..." if len(missing) > 6 else "")
    if share < config.min_registered or len(views) < 3:
        raise CaptureError(
            f"{len(views)} of {len(photos.photos)} photos found a pose, {config.min_registered:.0%} and 3 needed; "
            f"without one: {listed}",
            remedy="photograph with 70 % overlap, and put printed paper under a plain object",
        )
    if share < WARN_REGISTERED:
        context.warn(f"{len(missing)} of {len(photos.photos)} photos found no pose: {listed}")
    context.metrics.update(registered=len(views), photos=len(photos.photos), sparse_points=len(points))
    return settle(views, points, colors, snap_up=given)


def _view(name: str, image_path: Path, mask_path: Path | None, camera: Camera) -> View:
    return View(
        name=name,
        image_path=image_path,
        mask_path=mask_path,
        camera=camera,
        exposure=torch.ones(3),
        light_from_world=torch.eye(4, dtype=torch.float64),
    )


def _given_views(photos: Photos, path: Path, context: StageContext) -> list[View]:
    """Views of a transforms file, matched to the photos by name; `file_path` may lack its extension."""
    frames = transforms_json.read_transforms(path)
    named = {Path(p.name).stem: p for p in photos.photos} | {p.name: p for p in photos.photos}
    views: dict[str, View] = {}
    for frame in frames:
        photo = named.get(Path(frame.file_path).name) or named.get(frame.name)
        if photo is None:
            continue
        if photo.name in views:
            raise InputError(f"two of its frames mean the photo {photo.name}", path=path)
        camera = frame.camera
        if abs(camera.width / camera.height - photo.width / photo.height) > 0.01:
            raise InputError(
                f"{frame.name} is {camera.width}x{camera.height} px here, its photo {photo.width}x{photo.height} px",
                path=path,
            )
        fitted = camera.resized(photo.width, photo.height)
        views[photo.name] = _view(photo.name, photo.image_path, photo.mask_path, fitted)
    if not views:
        raise InputError(
            f"none of its {len(frames)} frames names one of the {len(photos.photos)} photos",
            path=path,
            remedy="file_path must end in the photo's name; move the file away to have poses solved",
        )
    context.progress(1.0, f"{len(views)} poses read")
    return sorted(views.values(), key=lambda v: v.name)


def _solved_views(
    photos: Photos, config: PosesConfig, context: StageContext
) -> tuple[list[View], torch.Tensor, torch.Tensor]:
    """Run structure from motion in a child process and read what it left."""
    arguments: dict[str, Any] = {
        "folder": str(context.folder),
        "photos": [
            vars(p) | {"image_path": str(p.image_path), "mask_path": p.mask_path and str(p.mask_path)}
            for p in photos.photos
        ],
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
    views = []
    for v in saved["views"]:
        camera = Camera(
            K=torch.tensor(v["K"], dtype=torch.float64),
            cam_from_world=torch.tensor(v["cam_from_world"], dtype=torch.float64),
            width=v["width"],
            height=v["height"],
        )
        mask = v["mask_path"] and context.folder / "masks" / v["mask_path"]
        views.append(_view(v["name"], context.folder / "images" / v["image_path"], mask, camera))
    points = torch.from_numpy(np.asarray(saved["points"], np.float64).reshape(-1, 3))
    colors = torch.from_numpy(np.asarray(saved["point_colors"], np.float64).reshape(-1, 3) / 255)
    return views, points, colors


def _summary(capture: Capture) -> str:
    known = "scale unknown" if capture.metres_per_unit is None else f"{capture.metres_per_unit:.4g} m per unit"
    return f"{len(capture.views)} photos posed, {len(capture.points)} sparse points, {known}"


STAGE = Stage(
    name="poses",
    version=1,
    compute=find_poses,
    save=capture_json.save,
    load=capture_json.load,
    summary=_summary,
)
