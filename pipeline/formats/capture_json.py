"""A `Capture` as a JSON file; its images stay files beside it."""

import json
import os
from pathlib import Path

import torch

from pipeline.scene import Camera, Capture, View

NAME = "capture.json"


def save(capture: Capture, folder: Path) -> None:
    """Write `capture.json` into `folder`, with paths relative to it."""

    def relative(path: Path | None) -> str | None:
        return None if path is None else os.path.relpath(path, folder)

    views = [
        {
            "name": v.name,
            "image_path": relative(v.image_path),
            "mask_path": relative(v.mask_path),
            "K": v.camera.K.tolist(),
            "cam_from_world": v.camera.cam_from_world.tolist(),
            "width": v.camera.width,
            "height": v.camera.height,
            "exposure": v.exposure.tolist(),
            "light_from_world": v.light_from_world.tolist(),
            "light_index": v.light_index,
        }
        for v in capture.views
    ]
    saved = {
        "views": views,
        "object_box": capture.object_box.tolist(),
        "world_from_input": capture.world_from_input.tolist(),
        "metres_per_unit": capture.metres_per_unit,
        "mask_dissent": capture.mask_dissent,
        "outlined": capture.outlined,
        "poses_given": capture.poses_given,
        "box_given": capture.box_given,
        "metres_per_asset_unit": capture.metres_per_asset_unit,
        "up_from": capture.up_from,
        "scale_from": capture.scale_from,
        "points": capture.points.tolist(),
        "point_colors": capture.point_colors.tolist(),
    }
    (folder / NAME).write_text(json.dumps(saved), encoding="utf-8")


def load(folder: Path) -> Capture:
    """Read what `save` wrote."""
    saved = json.loads((folder / NAME).read_text(encoding="utf-8"))

    def matrix(values: list[object]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float64)

    def path(value: str | None) -> Path | None:
        return None if value is None else Path(os.path.normpath(folder / value))

    views = tuple(
        View(
            name=v["name"],
            image_path=Path(os.path.normpath(folder / v["image_path"])),
            mask_path=path(v["mask_path"]),
            camera=Camera(
                K=matrix(v["K"]),
                cam_from_world=matrix(v["cam_from_world"]),
                width=v["width"],
                height=v["height"],
            ),
            exposure=torch.tensor(v["exposure"]),
            light_from_world=matrix(v["light_from_world"]),
            light_index=v["light_index"],
        )
        for v in saved["views"]
    )
    return Capture(
        views=views,
        points=matrix(saved["points"]).reshape(-1, 3),
        point_colors=matrix(saved["point_colors"]).reshape(-1, 3),
        object_box=matrix(saved["object_box"]),
        world_from_input=matrix(saved["world_from_input"]),
        metres_per_unit=saved["metres_per_unit"],
        mask_dissent=saved["mask_dissent"],
        outlined=saved.get("outlined", True),  # runs of before have none
        poses_given=saved["poses_given"],
        box_given=saved["box_given"],
        metres_per_asset_unit=saved["metres_per_asset_unit"],
        up_from=saved["up_from"],
        scale_from=saved["scale_from"],
    )
