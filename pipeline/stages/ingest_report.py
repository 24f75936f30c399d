"""What ingest tells the user: photos left out, photos that are doubtful, and why too few remain."""

import math
from collections.abc import Callable
from pathlib import Path

from pipeline.config import IngestConfig
from pipeline.errors import CaptureError, InputError, ReconError
from pipeline.stages.ingest_verdicts import Candidate, usable

_NAMED = 8  # names in one line; all of them are in the file of verdicts
_LINES = 20
# Of what the decoder notes, that which may cost quality: the rest is in the file of verdicts.
_TOLD_NOTES = ("CMYK", "damaged EXIF", "first of", "grey", "its mask", "unusable")


def tell(candidates: list[Candidate], warn: Callable[[str], None]) -> None:
    """Warn about every photo that is left out, by name, and about those that are doubtful."""
    grouped = {"blurred", "copy", "burst"}
    single = [c for c in candidates if c.kind and c.kind not in grouped]
    for c in single[:_LINES]:
        warn(f"left out: {c.found.path}: {c.reason}")
    if len(single) > _LINES:
        warn(f"left out: {named([c.found.name for c in single[_LINES:]])}; verdicts.json says why")
    if blurred := _of_kind(candidates, "blurred"):
        limit = blurred[0].limits["blur_px"]
        warn(f"left out, blurred (edges smeared by more than {limit:.1f} px), worst first: {_with_blur(blurred)}")
    if copies := _of_kind(candidates, "copy"):
        warn(f"left out, copies: {named([f'{c.found.name} {c.reason}' for c in copies])}")
    if burst := _of_kind(candidates, "burst"):
        stay = f"{len(usable(candidates))} of {len(candidates)} photos stay"
        warn(f"{len(burst)} near duplicates left out, {stay}: {named([f'{c.found.name} {c.reason}' for c in burst])}")
    _tell_doubts(usable(candidates), warn)


def _tell_doubts(photos: list[Candidate], warn: Callable[[str], None]) -> None:
    if soft := _worst_first([c for c in photos if "less sharp" in c.remarks]):
        warn(f"{len(soft)} photos are less sharp than the others, worst first: {_with_blur(soft)}")
    for kind in ("clipped", "mask", "orientation"):
        if told := [f"{c.found.name}: {c.remarks[kind]}" for c in photos if kind in c.remarks]:
            warn(named(told, separator="; "))
    notes: dict[str, list[str]] = {}
    for c in photos:
        for note in c.record["notes"]:
            if note.startswith(_TOLD_NOTES):
                notes.setdefault(note, []).append(c.found.name)
    for note, names in notes.items():
        warn(f"{named(names)}: {note}")


def too_few(candidates: list[Candidate], config: IngestConfig, folder: Path) -> ReconError | None:
    """The error when fewer photos than `config.min_photos` are left, with the cause that most of them share."""
    left, total = len(usable(candidates)), len(candidates)
    if left >= config.min_photos:
        return None
    counts = f"{left} of {total} photos usable, at least {config.min_photos} needed"
    blurred, copies = _of_kind(candidates, "blurred"), _of_kind(candidates, "copy") + _of_kind(candidates, "burst")
    if left + len(blurred) >= config.min_photos:
        limit = blurred[0].limits["blur_px"]
        return CaptureError(
            f"{counts}; {len(blurred)} are blurred, edges smeared by more than {limit:.1f} px, worst first: "
            f"{_with_blur(blurred)}",
            path=folder,
            remedy="photograph with more light, a tripod or a shorter exposure",
        )
    if copies and left + len(copies) >= config.min_photos:
        same = named([f"{c.found.name} {c.reason}" for c in copies], separator="; ")
        return InputError(
            f"{left} unique of {total} photos, at least {config.min_photos} needed: {same}",
            path=folder,
            remedy="40 or more photos from all sides make a good asset",
        )
    first = next((c for c in candidates if c.kind), None)
    problem = f"; first problem: {first.found.path}: {first.reason}" if first else ""
    return InputError(counts + problem, path=folder, remedy="40 or more photos from all sides make a good asset")


def _of_kind(candidates: list[Candidate], kind: str) -> list[Candidate]:
    return _worst_first([c for c in candidates if c.kind == kind])


def _worst_first(candidates: list[Candidate]) -> list[Candidate]:
    def sharpness(candidate: Candidate) -> float:
        blur = candidate.figures.get("blur_px")
        return math.inf if blur is None else -blur

    return sorted(candidates, key=sharpness)


def _with_blur(candidates: list[Candidate]) -> str:
    return named([f"{c.found.name} ({c.figures['blur_px']:.1f} px)" for c in candidates])


def named(names: list[str], *, separator: str = ", ") -> str:
    """Some of the names, and how many more there are."""
    more = f"{separator}and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return separator.join(names[:_NAMED]) + more
