"""Masks for photos that came without.

Where photos agree on depth (plane-sweep stereo), what the support looks like without the object, colours near
and far, and the votes of all photos on a coarse volume are weighed against each other, round by round.
"""

import dataclasses
from pathlib import Path

import numpy as np
import torch

from pipeline.config import MasksConfig
from pipeline.errors import CaptureError
from pipeline.formats import images
from pipeline.scene import Capture, View
from pipeline.stages.masks_backdrop import find_backdrops
from pipeline.stages.masks_outline import clean, refine
from pipeline.stages.masks_segment import REMEDY, Segment, segment
from pipeline.stages.masks_stereo import match_views
from pipeline.stages.masks_support import find_plane
from pipeline.stages.masks_views import in_parallel, load_view
from pipeline.workspace import StageContext

SMALLEST, LARGEST = 0.002, 0.9  # share of the photo that an object may cover
DISAGREES = 0.7  # IoU with what all photos together see, below which a mask is reported


def make_masks(capture: Capture, config: MasksConfig, context: StageContext) -> tuple[View, ...]:
    """Return the views of `capture`, all with masks: those that came along, and new ones in the stage's folder.

    Raises:
        CaptureError: When no object stands out in the middle.
    """
    threads = context.runtime.threads
    views = in_parallel(lambda v: load_view(v, config.working_px), capture.views, threads)
    plane = find_plane(capture.points.numpy(), context.runtime.seed)
    found = find_backdrops(views, threads)
    plain = any(b is not None for b in found)
    backdrops = [b.density(v) if b else np.zeros(v.shape, np.float32) for b, v in zip(found, views, strict=True)]
    context.progress(0.1, "matching neighbouring photos")
    matches = match_views(views, plane, threads)
    context.progress(0.5, "telling the object from its surroundings")
    segments = segment(
        views,
        matches,
        plane,
        backdrops if plain else None,
        rounds=config.rounds,
        threads=threads,
        progress=lambda share: context.progress(0.5 + 0.4 * share, "telling the object from its surroundings"),
    )
    _check(segments, context)
    context.metrics.update(support_found=float(plane is not None), plain_backdrop=float(plain))
    context.progress(0.9, "drawing outlines")
    folder = context.folder / "masks"
    folder.mkdir(parents=True, exist_ok=True)
    pairs = list(zip(capture.views, segments, strict=True))
    return tuple(in_parallel(lambda pair: _finished(*pair, folder), pairs, threads))


def _check(segments: list[Segment], context: StageContext) -> None:
    """Measure how well masks and volume agree; name the photos that do not, and refuse a hopeless capture."""
    made = [s for s in segments if s.view.given is None]
    share = float(np.median([(s.label > 0.5).mean() for s in made]))
    if not SMALLEST < share < LARGEST:
        what = "nothing" if share <= SMALLEST else "everything"
        raise CaptureError(f"the object could not be told from its surroundings: {what} is object", remedy=REMEDY)
    agreement = {s.view.name: _iou(s.label, s.seen) for s in segments}
    context.metrics["agreement_iou"] = float(np.mean(list(agreement.values())))
    poor = sorted((iou, name) for name, iou in agreement.items() if iou < DISAGREES)
    if poor:
        listed = ", ".join(f"{name} ({iou:.2f})" for iou, name in poor[:6]) + (" ..." if len(poor) > 6 else "")
        context.warn(f"{len(poor)} masks disagree with the other photos (IoU below {DISAGREES}): {listed}")


def _iou(label: np.ndarray, seen: np.ndarray) -> float:
    first, second = label > 0.5, seen > 0.5
    return float((first & second).sum() / max(1, (first | second).sum()))


def _finished(view: View, found: Segment, folder: Path) -> View:
    """Write a made mask at the photo's size."""
    if view.mask_path is not None:
        return view
    mask = refine(clean(found.label, found.seen), images.read_image(view.image_path))
    path = folder / f"{view.image_path.stem}.png"
    images.write_mask(path, torch.from_numpy(mask))
    return dataclasses.replace(view, mask_path=path)
