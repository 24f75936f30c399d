"""Masks: take the ones that came along, make the missing ones, check all of them, and box the object in."""

import dataclasses
from collections.abc import Iterable

from pipeline.config import MasksConfig
from pipeline.errors import CaptureError, InputError
from pipeline.formats import capture_json
from pipeline.geometry.object_box import search_box
from pipeline.scene import Capture, View
from pipeline.stages.masks_agreement import measure_dissent
from pipeline.stages.masks_box import find_box
from pipeline.stages.masks_checks import MaskCheck, SmallMask, check_masks, find_inverted, hulls_of_others
from pipeline.stages.masks_methods import make_missing, small_mask
from pipeline.stages.masks_model import MaskModel, find_model
from pipeline.stages.masks_repair import repair
from pipeline.stages.masks_views import in_parallel
from pipeline.workspace import Stage, StageContext, write_json

__all__ = ["STAGE", "complete_masks", "find_model"]

WARN_IOU = 0.8


def complete_masks(capture: Capture, model: MaskModel | None, config: MasksConfig, context: StageContext) -> Capture:
    """Give every view a mask and the capture a tight object box; `masks.json` tells of every mask.

    Raises:
        InputError: When given masks are inverted, or missing where only given ones are wanted.
        CaptureError: When the masks have no common object, or the one wanted method finds none.
    """
    threads = context.runtime.threads
    given = [v for v in capture.views if v.mask_path is not None]
    _refuse_inverted(in_parallel(small_mask, given, threads), capture, threads)
    views, origin = make_missing(capture, model, config, context)
    masks = in_parallel(small_mask, views, threads)
    if not capture.box_given:
        start = search_box([m.camera for m in masks], [m.distance for m in masks], capture.object_box)
        capture = dataclasses.replace(capture, object_box=start)
    dissent, iou = _measure(masks, capture, context)
    checks = _check(masks, capture, dissent, threads)
    suspects = {c.name for c in checks if c.flags and origin[c.name] != "none"}
    if config.repair and suspects:
        views = repair(views, [c for c in checks if c.name in suspects], config, context)
        origin |= {v.name: f"{origin[v.name]}, repaired" for v in views if v.name in suspects}
        masks = in_parallel(small_mask, views, threads)
        dissent, iou = _measure(masks, capture, context)
        checks = _check(masks, capture, dissent, threads)
    box = find_box(capture, [m.camera for m in masks], [m.distance for m in masks], dissent, context)
    if iou < WARN_IOU:
        context.warn(f"the masks contradict each other: the hull matches them to {iou:.2f} (IoU), {WARN_IOU} is usual")
    _report(views, checks, origin, context)
    context.metrics.update(dissent=dissent, hull_iou=iou)
    return dataclasses.replace(capture, views=views, object_box=box, mask_dissent=dissent)


def _refuse_inverted(given: list[SmallMask], capture: Capture, threads: int) -> None:
    inverted = find_inverted(given, capture.object_box, threads)
    if inverted:
        raise InputError(
            f"{len(inverted)} of {len(given)} masks are inverted, white around the object: {_listed(inverted)}",
            remedy="mark the object white and the rest black",
        )


def _measure(masks: list[SmallMask], capture: Capture, context: StageContext) -> tuple[float, float]:
    cameras, distances = [m.camera for m in masks], [m.distance for m in masks]
    return measure_dissent(cameras, distances, capture.object_box, context.runtime.rasterizer)


def _check(masks: list[SmallMask], capture: Capture, dissent: float, threads: int) -> list[MaskCheck]:
    seen = hulls_of_others(masks, capture.object_box, dissent, threads)
    if seen is None:
        raise CaptureError(
            f"the {len(masks)} masks have no point in common", remedy="check masks and poses: they must show one object"
        )
    return check_masks(masks, seen)


def _report(views: tuple[View, ...], checks: list[MaskCheck], origin: dict[str, str], context: StageContext) -> None:
    """Write `masks.json`, and tell the user which photos to look at."""
    flags = {c.name: c.flags if origin[c.name] != "none" else () for c in checks}
    records = [
        {
            "name": check.name,
            "mask": None if view.mask_path is None else view.mask_path.name,
            "method": origin[check.name],
            "hull_iou": round(check.iou, 4),
            "outside_share": round(check.outside_share, 4),
            "missing_share": round(check.missing_share, 4),
            "soft_share": round(check.soft_share, 4),
            "flags": flags[check.name],
        }
        for view, check in zip(views, checks, strict=True)
    ]
    write_json(context.folder / "masks.json", {"masks": records})
    flagged = [f"{name} ({'; '.join(found)})" for name, found in flags.items() if found]
    if flagged:
        context.warn(f"{len(flagged)} of {len(views)} masks should be looked at: {_listed(flagged)}")
    methods = [method.partition(",")[0] for method in origin.values()]
    context.metrics.update({method: methods.count(method) for method in sorted(set(methods))})
    context.metrics.update(
        flagged=len(flagged),
        others_iou=sorted(c.iou for c in checks)[len(checks) // 2],
        repaired=sum("repaired" in method for method in origin.values()),
    )


def _listed(names: Iterable[str], limit: int = 6) -> str:
    names = list(names)
    return ", ".join(names[:limit]) + (" ..." if len(names) > limit else "")


def _summary(capture: Capture) -> str:
    box = ",".join(f"{x:.2f}" for x in capture.object_box.flatten().tolist())
    return f"{len(capture.views)} masks, object box {box}"


STAGE = Stage(
    name="masks",
    version=6,
    compute=complete_masks,
    save=capture_json.save,
    load=capture_json.load,
    summary=_summary,
)
