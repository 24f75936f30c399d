"""Masks: take the ones that came along, make the missing ones, and box the object in."""

import dataclasses

import numpy as np
import torch
from jaxtyping import Float

from pipeline.config import MasksConfig
from pipeline.errors import CaptureError
from pipeline.formats import capture_json
from pipeline.formats.views import read_view_mask
from pipeline.geometry.outline import mask_distance
from pipeline.geometry.visual_hull import hull_box
from pipeline.scene import Camera, Capture
from pipeline.stages.masks_agreement import measure_dissent
from pipeline.stages.masks_auto import make_masks
from pipeline.workspace import Stage, StageContext

BOX_PX = 400  # long side of the masks that find the box
WARN_IOU = 0.8


def complete_masks(capture: Capture, config: MasksConfig, context: StageContext) -> Capture:
    """Give every view a mask and the capture a tight object box.

    Raises:
        CaptureError: When the masks have no common object.
    """
    missing = [v for v in capture.views if v.mask_path is None]
    views = capture.views
    if missing:
        if len(missing) < len(views):
            context.warn(f"{len(missing)} photos came without a mask; made: {', '.join(v.name for v in missing[:5])}")
        views = make_masks(capture, config, context)
    small = [read_view_mask(v, long_side_px=BOX_PX) for v in views]
    cameras, distances = [camera for camera, _ in small], [mask_distance(mask) for _, mask in small]
    dissent, iou = measure_dissent(cameras, distances, capture.object_box, context.runtime.rasterizer)
    box = _object_box(cameras, distances, capture.object_box, dissent)
    if iou < WARN_IOU:
        context.warn(f"the masks contradict each other: the hull matches them to {iou:.2f} (IoU), {WARN_IOU} is usual")
    context.metrics.update(given=len(views) - len(missing), made=len(missing), dissent=dissent, hull_iou=iou)
    return dataclasses.replace(capture, views=views, object_box=box, mask_dissent=dissent)


def _object_box(
    cameras: list[Camera], distances: list[Float[np.ndarray, "_ _"]], start: Float[torch.Tensor, "2 3"], dissent: float
) -> Float[torch.Tensor, "2 3"]:
    box = hull_box(cameras, distances, start, dissent=dissent)
    if box is None:
        raise CaptureError(
            f"the {len(cameras)} masks have no point in common",
            remedy="check masks and poses: they must show one object",
        )
    return box


def _summary(capture: Capture) -> str:
    size = (capture.object_box[1] - capture.object_box[0]).tolist()
    return f"{len(capture.views)} masks, object box {size[0]:.2f} x {size[1]:.2f} x {size[2]:.2f} units"


STAGE = Stage(
    name="masks",
    version=4,
    compute=complete_masks,
    save=capture_json.save,
    load=capture_json.load,
    summary=_summary,
)
