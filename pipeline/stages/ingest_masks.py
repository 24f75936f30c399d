"""Masks that came along: which way up they are stored, and whether they are masks of these photos."""

from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.stages.ingest_items import Record

_EMPTY = 1e-4  # share of white below which a mask is black, and of black below which it is white
_MOSTLY = 0.6
_LISTED = 8


def stored_like_sensor(surveyed: dict[int, Record]) -> dict[int, int]:
    """EXIF orientation by which each mask must be turned, for masks that are stored as the sensor saw the photo.

    A mask fits the upright photo, unless its size says otherwise. Where both ways have one size (square photos,
    orientations 2 to 4), the masks beside it tell: programs that write masks write all of them one way. A mask with
    an orientation of its own has said which way is up.
    """
    votes: dict[int, bool | None] = {}
    for index, record in surveyed.items():
        photo, mask = record.get("photo"), record.get("mask")
        if photo and mask and photo["orientation"] != 1 and mask["orientation"] == 1:
            votes[index] = _vote(photo, (mask["width"], mask["height"]))
    told = {vote for vote in votes.values() if vote is not None}
    undecided = told == {True}
    return {
        index: surveyed[index]["photo"]["orientation"]
        for index, vote in votes.items()
        if (undecided if vote is None else vote)
    }


def _vote(photo: dict[str, Any], mask_size: tuple[int, int]) -> bool | None:
    """Whether a mask has the size of the sensor's picture, not that of the upright one; none when both are the same."""
    stored = photo["width"], photo["height"]
    upright = (stored[1], stored[0]) if photo["orientation"] >= 5 else stored
    if stored == upright:
        return None
    return mask_size == stored


def refuse_bad_masks(masks: dict[Path, Record]) -> None:
    """Stop at masks that cannot be those of the photos, naming them.

    Args:
        masks: Records of the decoded photos, by mask file.

    Raises:
        InputError: For masks of the wrong size, unreadable, all black or white, or inverted.
    """
    problems = {path: record["mask_problem"] for path, record in masks.items() if record.get("mask_problem")}
    _refuse(problems, len(masks), "do not fit", "masks must fit the upright photos pixel by pixel")
    seen = {path: record["mask_figures"] for path, record in masks.items() if "mask_figures" in record}
    blank = {path: f"is all {'white' if f['white'] > 0.5 else 'black'}" for path, f in seen.items() if _blank(f)}
    _refuse(blank, len(masks), "are all black or all white", "mark the object white, the rest black")
    inverted = {path: "seems inverted" for path, f in seen.items() if _inverted(f)}
    if 2 * len(inverted) > len(seen):
        told = {path: _inverted_words(seen[path]) for path in inverted}
        _refuse(told, len(masks), "seem inverted", "white is the object, black the rest: invert them")


def doubtful_mask(record: Record, *, max_soft: float) -> str:
    """What to tell about a photo's mask; empty when nothing."""
    seen = record.get("mask_figures")
    if seen is None:
        return ""
    if _inverted(seen):
        return f"its mask {_inverted_words(seen)}"
    if seen["soft"] > max_soft:
        return f"{seen['soft']:.0%} of its mask is neither object nor background, limit {max_soft:.0%}"
    return ""


def _blank(seen: dict[str, float]) -> bool:
    return not _EMPTY < seen["white"] < 1 - _EMPTY


def _inverted(seen: dict[str, float]) -> bool:
    return seen["border"] > _MOSTLY and seen["middle"] < 1 - _MOSTLY


def _inverted_words(seen: dict[str, float]) -> str:
    return (
        f"seems inverted: {seen['border']:.0%} of its border is white, and {1 - seen['middle']:.0%} of its middle black"
    )


def _refuse(problems: dict[Path, str], total: int, verb: str, remedy: str) -> None:
    if not problems:
        return
    (first, problem), *others = problems.items()
    if not others:
        raise InputError(problem, path=first, remedy=remedy)
    listed = "; ".join(f"{path.name} {problem}" for path, problem in list(problems.items())[:_LISTED])
    more = " ..." if len(problems) > _LISTED else ""
    raise InputError(f"{len(problems)} of {total} masks {verb}: {listed}{more}", path=first.parent, remedy=remedy)
