"""`recon check`: read the photos, pose them quickly, and say what is missing before an hour is spent."""

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.check.advice import advise, gap_words, region_words
from pipeline.check.coverage import measure_coverage, places
from pipeline.check.picture import draw_coverage
from pipeline.check.verdicts import PhotoReport, report_photos
from pipeline.config import RunConfig
from pipeline.discovery import Inputs, discover
from pipeline.errors import CaptureError
from pipeline.formats.views import read_view_mask
from pipeline.geometry.object_box import MIN_CONTACT, frame_contact
from pipeline.progress import Reporter
from pipeline.runtime import make_runtime
from pipeline.scene import Capture
from pipeline.stages import ingest, poses, world
from pipeline.workspace import Staged, Workspace, lock, write_json

MAX_IMAGE_PX, MAX_FEATURES = 800, 2048  # half of a run's: poses good to a degree are enough
MASK_PX = 200  # long side of the masks whose contact with the frame is looked at
LISTED = 8  # names in one line


@dataclass(frozen=True, kw_only=True)
class CheckRequest:
    """What the user asked for.

    Attributes:
        inputs: The photos.
        out: Folder for check.json, coverage.png and what the stages keep for a second check.
        config: Settings of the stages; `light` makes a run's settings quick.
    """

    inputs: Inputs
    out: Path
    config: RunConfig


def light(config: RunConfig) -> RunConfig:
    """A run's settings with features few and small enough for a quick look."""
    quick = dataclasses.replace(
        config.poses,
        max_image_px=min(config.poses.max_image_px, MAX_IMAGE_PX),
        max_features=min(config.poses.max_features, MAX_FEATURES),
    )
    return dataclasses.replace(config, poses=quick)


def check(request: CheckRequest, reporter: Reporter) -> None:
    """Say which photos are usable, from where they look, and what to shoot next; write it as JSON and a picture.

    Raises:
        CaptureError: When nothing can be reconstructed from the photos; the report is written first.
        ReconError: Of the kind that says what else stopped the check.
    """
    start = time.monotonic()
    source = discover(request.inputs)
    with lock(request.out):
        for name in ("check.json", "coverage.png"):  # of an earlier check, which may have seen other photos
            (request.out / name).unlink(missing_ok=True)
        workspace = Workspace(root=request.out, runtime=make_runtime(request.config.runtime), reporter=reporter)
        found = Staged(value=source, key=source.key())
        photos = workspace.stage(ingest.STAGE, request.config.ingest, found)
        judged = report_photos(photos.value)
        report: dict[str, Any] = {"photos": judged.record()}
        for line in judged.lines(LISTED):
            reporter.line(line)
        try:
            posed = workspace.stage(poses.STAGE, request.config.poses, photos)
            settled = workspace.stage(world.STAGE, request.config.world, posed)
        except CaptureError as error:
            _write(request.out, report | {"reconstructable": False, "reason": str(error)}, start)
            reporter.line(f"report      {request.out / 'check.json'}")
            raise
        report |= {"reconstructable": True, "warnings": [w for r in workspace.records for w in r["warnings"]]}
        report |= _look_around(settled.value, judged, request.out, reporter)
        _write(request.out, report, start)
        reporter.line(f"report      {request.out / 'check.json'} and {request.out / 'coverage.png'}")


def _look_around(capture: Capture, judged: PhotoReport, out: Path, reporter: Reporter) -> dict[str, Any]:
    """The part of the report that needs poses, told and drawn as well."""
    posed = {v.name for v in capture.views}
    lost = [name for name in judged.used if name not in posed]
    cut = _cut_by_frame(capture)
    coverage = measure_coverage(capture)
    advice = advise(coverage, usable=len(judged.used))
    draw_coverage(coverage, out / "coverage.png")
    reporter.line(f"posed       {len(posed)} of {len(judged.used)}" + _named("; without a pose: ", lost))
    if cut:
        reporter.line(f"cut off     the object reaches over the frame of {len(cut)} photos" + _named(": ", cut))
    reporter.line(f"coverage    {coverage.share:.0%} of {region_words(coverage)} are near a photo's")
    reporter.line(f"widest gap  {gap_words(coverage)}")
    for index, sentence in enumerate(advice):
        reporter.line(f"{'shoot next' if index == 0 else '':<11} {sentence}")
    return {
        "posed": len(posed),
        "without_pose": lost,
        "cut_by_frame": cut,
        "coverage": {
            "share": round(coverage.share, 3),
            "lowest_elevation_deg": coverage.lowest_deg,
            "views": places(coverage),
        },
        "widest_gap": {
            "width_deg": round(2 * coverage.gap.radius_deg, 1),
            "nearest_photo_deg": round(coverage.gap.radius_deg, 1),
            "nearest_photo": coverage.nearest(coverage.gap.direction),
            "words": gap_words(coverage),
        },
        "shoot_next": advice,
    }


def _cut_by_frame(capture: Capture) -> list[str]:
    """Photos whose mask, where one came along, goes on outside of the frame."""
    masked = [v for v in capture.views if v.mask_path is not None]
    masks = [(v.name, read_view_mask(v, long_side_px=MASK_PX)[1]) for v in masked]
    return [name for name, mask in masks if frame_contact(0.5 - mask) > MIN_CONTACT]


def _named(before: str, names: list[str]) -> str:
    if not names:
        return ""
    return before + ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")


def _write(out: Path, report: dict[str, Any], start: float) -> None:
    write_json(out / "check.json", report | {"wall_s": round(time.monotonic() - start, 1)})
