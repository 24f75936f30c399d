"""Ingest: decode every photo once into upright 8-bit sRGB, judge it, and keep what came along with it."""

import math
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config import IngestConfig
from pipeline.discovery import Source
from pipeline.formats.signatures import named_like_video
from pipeline.scene import Photo, Photos
from pipeline.stages import ingest_files, ingest_report, ingest_verdicts
from pipeline.stages.ingest_children import Crew
from pipeline.stages.ingest_masks import refuse_bad_masks, stored_like_sensor
from pipeline.stages.ingest_verdicts import Candidate, usable
from pipeline.stages.ingest_video import found_frames
from pipeline.workspace import Stage, StageContext

SURVEY_MIB = 160  # headers need little
PHOTOS_PER_CHILD = 8  # a child takes two seconds to start
LARGE_MEGAPIXELS = 60  # photos from which on one child works alone, for its memory


def ingest(source: Source, config: IngestConfig, context: StageContext) -> Photos:
    """Decode and judge the photos of `source`; a photo that cannot be used is named and left out.

    Raises:
        InputError: When fewer than `config.min_photos` photos are usable, or masks came along that do not fit them.
        CaptureError: When so few are left because the others are blurred.
    """
    if source.ignored:
        hint = "; a video is read with --video FILE" if any(map(named_like_video, source.ignored)) else ""
        context.warn(f"{len(source.ignored)} files are no photos: {ingest_report.named(list(source.ignored))}{hint}")
    frames = found_frames(source.videos, context.folder / ingest_files.WORK, config, context.progress)
    candidates = [Candidate(index=i, found=found) for i, found in enumerate([*source.photos, *frames])]
    for c in candidates:
        if c.found.refused:
            c.refuse("unreadable", c.found.refused)
    _decode(candidates, config, context)
    _check_masks(candidates, source, context)
    _judge(candidates, source, config, context)
    ingest_files.write_verdicts([c.verdict() for c in candidates], context.folder)
    ingest_files.write_manifest(candidates, source, context.folder)
    ingest_report.tell(candidates, context.warn)
    if error := ingest_report.too_few(candidates, config, source.folder):
        raise error
    ingest_files.tidy(candidates, context.folder)
    used = usable(candidates)
    context.metrics.update(photos=len(used), rejected=len(candidates) - len(used))
    return Photos(
        photos=tuple(_photo(c, context.folder, gain) for c, gain in zip(used, _exposures(used), strict=True)),
        poses_path=source.poses_path,
        verdicts=tuple(c.verdict() for c in candidates),
    )


def _decode(candidates: list[Candidate], config: IngestConfig, context: StageContext) -> None:
    """Survey the headers, then decode what they allow."""
    work = context.folder / ingest_files.WORK
    for folder in (work, *(context.folder / name for name in ingest_files.FOLDERS)):
        folder.mkdir(exist_ok=True)
    items = [_item(c, config, context.folder) for c in usable(candidates)]
    limits: dict[str, Any] = {"folder": work, "timeout_s": config.decode_timeout_s}
    survey = Crew(target="pipeline.stages.ingest_survey:survey", memory_mib=SURVEY_MIB, children=1, **limits)
    surveyed = survey.work(items, _share_of(context.progress, 0.0, 0.05))
    turned = stored_like_sensor(surveyed)
    largest = 0.0
    for c in usable(candidates):
        c.record = surveyed[c.index]
        if "refused" in c.record:
            c.refuse("unreadable", c.record["refused"])
        elif header := c.record["photo"]:
            largest = max(largest, header["width"] * header["height"] / 1e6)
    items = [
        item | {"mask_orientation": turned.get(c.index), "kind": (c.record["photo"] or {}).get("kind", "")}
        for item in items
        if not (c := candidates[item["index"]]).kind
    ]
    children = 1 if largest > LARGE_MEGAPIXELS else min(context.runtime.threads, -(-len(items) // PHOTOS_PER_CHILD))
    crew = Crew(
        target="pipeline.stages.ingest_decode:decode", memory_mib=config.max_memory_mib, children=children, **limits
    )
    decoded = crew.work(items, _share_of(context.progress, 0.05, 1.0))
    for c in usable(candidates):
        c.record |= decoded[c.index]
        if "refused" in c.record:
            c.refuse("unreadable", c.record["refused"])
            continue
        if (turn := c.record.get("mask_turned", 1)) != 1:
            c.record["notes"].append(f"its mask was stored like the sensor and turned too (orientation {turn})")


def _share_of(progress: Callable[[float, str], None], start: float, end: float) -> Callable[[float, str], None]:
    return lambda fraction, note: progress(start + (end - start) * fraction, note)


def _item(candidate: Candidate, config: IngestConfig, folder: Path) -> dict[str, Any]:
    """A photo as the children read it; its copy gets an ASCII name that no other one has."""
    found = candidate.found
    stem = f"{candidate.index:04d}_" + (re.sub(r"[^A-Za-z0-9_-]+", "_", found.path.stem)[:80] or "photo")
    max_bytes = config.max_file_mib * 2**20
    return {
        "index": candidate.index,
        "name": found.name,
        "path": str(found.path),
        "mask_path": None if found.mask is None else str(found.mask),
        "folder": str(folder),
        "stem": stem,
        "thumbnail": f"{ingest_files.WORK}/{stem}.npy",
        "limits": {
            "max_bytes": max_bytes,
            "max_pixels": config.max_megapixels * 1_000_000,
            "max_frames": config.max_frames,
        },
        "max_image_px": config.max_image_px,
    }


def _check_masks(candidates: list[Candidate], source: Source, context: StageContext) -> None:
    decoded = usable(candidates)
    refuse_bad_masks({c.found.mask: c.record for c in decoded if c.found.mask is not None})
    missing = [c.found.name for c in decoded if c.found.mask is None]
    if len(missing) < len(decoded) and any(c.found.mask for c in decoded) and missing:
        context.warn(
            f"{len(missing)} of {len(decoded)} photos have no mask, which will be made: {ingest_report.named(missing)}"
        )
    if source.unmatched_masks:
        count = len(source.unmatched_masks)
        context.warn(
            f"masks named like none of the photos ({count}): {ingest_report.named(list(source.unmatched_masks))}"
        )


def _judge(candidates: list[Candidate], source: Source, config: IngestConfig, context: StageContext) -> None:
    """Reach a verdict on each photo."""
    for c in usable(candidates):
        ingest_verdicts.judge_alone(c, config)
    ingest_verdicts.judge_blur(candidates, config)
    if source.poses_path is None:  # poses tell views apart that look the same, and fit photos of any size
        ingest_verdicts.judge_sizes(candidates)
        ingest_verdicts.judge_copies(candidates, lambda c: source.sha256.get(c.found.path, c.found.name))
        if config.thin_bursts:
            ingest_verdicts.judge_bursts(candidates, lambda c: _thumbnail(c, context.folder))
    if warning := ingest_verdicts.judge_levels(candidates):
        context.warn(warning)


def _thumbnail(candidate: Candidate, folder: Path) -> ingest_verdicts.Thumbnail:
    return np.asarray(np.load(folder / candidate.record["thumbnail"]))


def _exposures(candidates: list[Candidate]) -> list[float]:
    """How bright each photo shows a surface by EXIF, relative to their geometric mean; all 1 if one does not tell."""
    told = [c.record["exif_exposure"] for c in candidates]
    if None in told:
        return [1.0] * len(told)
    mean = statistics.fmean(map(math.log, told))
    return [math.exp(math.log(exposure) - mean) for exposure in told]


def _photo(candidate: Candidate, folder: Path, exposure: float) -> Photo:
    record = candidate.record
    paths = {key: record[key] and folder / record[key] for key in ("image", "mask_image", "deep")}
    return Photo(
        name=candidate.found.name,
        image_path=paths["image"],
        mask_path=paths["mask_image"],
        width=record["width"],
        height=record["height"],
        focal_px=record["focal_px"],
        camera_label=record["camera_label"],
        deep_path=paths["deep"],
        light_index=candidate.found.light_index,
        orientation=record["orientation"],
        exposure=exposure,
    )


def _summary(photos: Photos) -> str:
    masks = sum(p.mask_path is not None for p in photos.photos)
    sizes = sorted({f"{p.width}x{p.height}" for p in photos.photos})
    given = "poses given" if photos.poses_path else "no poses given"
    left_out = sum(not v.used for v in photos.verdicts)
    more = f", {left_out} left out" if left_out else ""
    return f"{len(photos.photos)} photos{more}, {', '.join(sizes[:3])}, {masks} masks, {given}"


STAGE = Stage(
    name="ingest", version=3, compute=ingest, save=ingest_files.save, load=ingest_files.load, summary=_summary
)
