"""Masks: take the ones that came along, make the missing ones, and box the object in."""

import dataclasses

from pipeline.config import MasksConfig
from pipeline.formats import capture_json
from pipeline.formats.views import read_view_mask
from pipeline.geometry.object_box import search_box
from pipeline.geometry.outline import mask_distance
from pipeline.scene import Capture
from pipeline.stages.masks_agreement import measure_dissent
from pipeline.stages.masks_auto import make_masks
from pipeline.stages.masks_box import find_box
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
    start = capture.object_box if capture.box_given else search_box(cameras, distances, capture.object_box)
    dissent, iou = measure_dissent(cameras, distances, start, context.runtime.rasterizer)
    box = find_box(dataclasses.replace(capture, object_box=start), cameras, distances, dissent, context)
    if iou < WARN_IOU:
        context.warn(f"the masks contradict each other: the hull matches them to {iou:.2f} (IoU), {WARN_IOU} is usual")
    context.metrics.update(given=len(views) - len(missing), made=len(missing), dissent=dissent, hull_iou=iou)
    return dataclasses.replace(capture, views=views, object_box=box, mask_dissent=dissent)


def _summary(capture: Capture) -> str:
    box = ",".join(f"{x:.2f}" for x in capture.object_box.flatten().tolist())
    return f"{len(capture.views)} masks, object box {box}"


STAGE = Stage(
    name="masks",
    version=5,
    compute=complete_masks,
    save=capture_json.save,
    load=capture_json.load,
    summary=_summary,
)
