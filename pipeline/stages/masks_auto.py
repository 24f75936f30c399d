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
from pipeline.geometry.support_plane import find_plane
from pipeline.scene import Capture, View
from pipeline.stages.masks_backdrop import find_backdrops
from pipeline.stages.masks_outline import clean, refine
from pipeline.stages.masks_segment import REMEDY, Segment, segment
from pipeline.stages.masks_stereo import match_views
from pipeline.stages.masks_views import in_parallel, load_view
from pipeline.workspace import StageContext

OVERVIEW = 0.6  # size of whole photos, of that of the windows around the object
SMALLEST, LARGEST = 0.002, 0.9  # share of the photo that an object may cover
DISAGREES = 0.7  # IoU with what all photos together see, below which a mask is reported


def make_masks(capture: Capture, config: MasksConfig, context: StageContext) -> tuple[View, ...]:
    """Return the views of `capture`, all with masks: those that came along, and new ones in the stage's folder.

    Raises:
        CaptureError: When no object stands out in the middle.
    """
    threads = context.runtime.threads
    overview_px = round(OVERVIEW * config.working_px)
    views = in_parallel(lambda v: load_view(v, overview_px), capture.views, threads)
    plane = find_plane(capture.points.numpy(), context.runtime.seed)
    backdrops = find_backdrops(views, threads)
    context.progress(0.1, "matching neighbouring photos")
    matches = match_views(views, plane, threads)
    context.progress(0.5, "telling the object from its surroundings")
    segments = segment(
        views,
        matches,
        plane,
        backdrops,
        rounds=config.rounds,
        closer=lambda index, window: load_view(capture.views[index], config.working_px, window),
        threads=threads,
        progress=lambda share: context.progress(0.5 + 0.4 * share, "telling the object from its surroundings"),
    )
    _check(segments, capture.views, context)
    context.metrics.update(support_found=float(plane is not None), plain_backdrop=float(any(backdrops)))
    context.progress(0.9, "drawing outlines")
    folder = context.folder / "masks"
    folder.mkdir(parents=True, exist_ok=True)
    pairs = list(zip(capture.views, segments, strict=True))
    return tuple(in_parallel(lambda pair: _finished(*pair, folder), pairs, threads))


def _check(segments: list[Segment], photos: tuple[View, ...], context: StageContext) -> None:
    """Measure how well masks and volume agree; name the photos that do not, and refuse a hopeless capture."""
    made = [s for s in zip(segments, photos, strict=True) if s[0].view.given is None]
    share = float(np.median([_object_share(s, photo) for s, photo in made]))
    if not SMALLEST < share < LARGEST:
        what = "nothing" if share <= SMALLEST else "everything"
        raise CaptureError(f"the object could not be told from its surroundings: {what} is object", remedy=REMEDY)
    agreement = {s.view.name: _iou(s.label, s.seen) for s in segments}
    context.metrics["agreement_iou"] = float(np.mean(list(agreement.values())))
    poor = sorted((iou, name) for name, iou in agreement.items() if iou < DISAGREES)
    if poor:
        listed = ", ".join(f"{name} ({iou:.2f})" for iou, name in poor[:6]) + (" ..." if len(poor) > 6 else "")
        context.warn(f"{len(poor)} masks disagree with the other photos (IoU below {DISAGREES}): {listed}")


def _object_share(found: Segment, photo: View) -> float:
    """Share of the whole photo that is object."""
    _, _, width, height = found.view.window
    return float((found.label > 0.5).mean()) * width * height / (photo.camera.width * photo.camera.height)


def _iou(label: np.ndarray, seen: np.ndarray) -> float:
    first, second = label > 0.5, seen > 0.5
    return float((first & second).sum() / max(1, (first | second).sum()))


def _finished(view: View, found: Segment, folder: Path) -> View:
    """Write a made mask at the photo's size."""
    if view.mask_path is not None:
        return view
    photo = images.read_image(view.image_path)
    left, top, width, height = found.view.window
    part = np.s_[top : top + height, left : left + width]
    mask = np.zeros(photo.shape[:2], np.float32)
    mask[part] = refine(clean(found.label, found.seen), photo[part])
    path = folder / f"{view.image_path.stem}.png"
    images.write_mask(path, torch.from_numpy(mask))
    return dataclasses.replace(view, mask_path=path)
