"""Masks: take the ones that came along, make the missing ones, check all of them, and box the object in."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float

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
MOST_OUTLIERS = 0.2  # share of the photos


def complete_masks(capture: Capture, model: MaskModel | None, config: MasksConfig, context: StageContext) -> Capture:
    """Give every view a mask and the capture a tight object box; `masks.json` tells of every mask.

    Raises:
        InputError: When given masks are inverted, or missing where only given ones are wanted.
        CaptureError: When the masks have no common object, or the one wanted method finds none.
    """
    threads = context.runtime.threads
    given = [v for v in capture.views if v.mask_path is not None]
    measured = in_parallel(small_mask, given, threads)
    _refuse_inverted(measured, capture, threads)
    views, origin = make_missing(capture, model, config, context)
    outlined = any(method != "none" for method in origin.values())
    capture = dataclasses.replace(capture, views=views, outlined=outlined)
    judged = _judge(capture, context, measured if len(given) == len(views) else None)
    suspects = {c.name for c in judged.checks if c.flags and origin[c.name] != "none"}
    if config.repair and suspects:
        views = repair(views, [c for c in judged.checks if c.name in suspects], config, context)
        origin |= {name: f"{origin[name]}, repaired" for name in suspects}
        capture = dataclasses.replace(capture, views=views)
        judged = _judge(capture, context)
    _report(views, judged.checks, origin, context)
    outliers = _outliers(judged.checks, origin, config)
    if outliers:
        context.warn(
            f"{len(outliers)} of {len(views)} photos are left out, as their masks show something else than the others, "
            f"or their poses are wrong (IoU below {config.drop_below}): {_listed(outliers)} (look at the masks; "
            "masks.repair=true makes them anew from what the others say)"
        )
        capture = dataclasses.replace(capture, views=tuple(v for v in views if v.name not in outliers))
        judged = _judge(capture, context)
    start = capture.object_box if capture.box_given else judged.start
    capture = dataclasses.replace(capture, object_box=start, mask_dissent=judged.dissent)
    cameras, distances = [m.camera for m in judged.masks], [m.distance for m in judged.masks]
    box = find_box(capture, cameras, distances, judged.dissent, context)
    if judged.iou < WARN_IOU:
        context.warn(
            f"the masks contradict each other: the hull matches them to {judged.iou:.2f} (IoU), {WARN_IOU} is usual"
        )
    context.metrics.update(dissent=judged.dissent, hull_iou=judged.iou, left_out=len(outliers))
    return dataclasses.replace(capture, object_box=box)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Judged:
    """All masks of a capture, held against each other.

    Attributes:
        masks: At the size at which they are compared.
        start: Where the object is looked for.
        dissent: Share of the views that may be overruled.
        iou: Mean of silhouettes of the hull against the masks.
        checks: Each mask against the hull of the others.
    """

    masks: list[SmallMask]
    start: Float[torch.Tensor, "2 3"]
    dissent: float
    iou: float
    checks: list[MaskCheck]


def _judge(capture: Capture, context: StageContext, masks: list[SmallMask] | None = None) -> _Judged:
    """Measure how far the masks agree, and check each; `masks` are those of all views, where they are at hand.

    Raises:
        CaptureError: When they have no common object.
    """
    threads = context.runtime.threads
    masks = masks or in_parallel(small_mask, capture.views, threads)
    cameras, distances = [m.camera for m in masks], [m.distance for m in masks]
    start, box = search_box(cameras, distances, capture.object_box)  # the user's box may cut what masks show
    dissent, agreement = measure_dissent(cameras, distances, box, context.runtime.rasterizer)
    seen = hulls_of_others(masks, start, dissent, threads)
    if seen is None:
        raise CaptureError(
            f"the {len(masks)} masks have no point in common", remedy="check masks and poses: they must show one object"
        )
    return _Judged(masks=masks, start=start, dissent=dissent, iou=agreement, checks=check_masks(masks, seen))


def _outliers(checks: list[MaskCheck], origin: dict[str, str], config: MasksConfig) -> list[str]:
    """Photos whose masks fit the others so badly that they do harm; none when they are too many to be the odd ones."""
    names = [c.name for c in checks if c.iou < config.drop_below and origin[c.name] != "none"]
    return names if len(names) <= MOST_OUTLIERS * len(checks) else []


def _refuse_inverted(given: list[SmallMask], capture: Capture, threads: int) -> None:
    inverted = find_inverted(given, capture.object_box, threads)
    if inverted:
        raise InputError(
            f"{len(inverted)} of {len(given)} masks are inverted, white around the object: {_listed(inverted)}",
            remedy="mark the object white and the rest black",
        )


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
    version=9,
    compute=complete_masks,
    save=capture_json.save,
    load=capture_json.load,
    summary=_summary,
)
