"""Which photos are used, and what is said about each: limits, and comparison with the capture's other photos."""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pipeline.config import IngestConfig
from pipeline.discovery import FoundPhoto
from pipeline.scene import Verdict
from pipeline.stages.ingest_duplicates import Thumbnail, near_duplicates
from pipeline.stages.ingest_items import Record
from pipeline.stages.ingest_masks import doubtful_mask

MIN_CONTRAST = 4.0  # standard deviation in 8-bit steps; a lens cap has less
BLACK, WHITE = 24, 250  # 8-bit steps that 99 % of a black photo stay below, and of a white one above
SMALLEST_AGAINST_MEDIAN = 0.25  # of the long side: thumbnails among photos
WARN_BLUR_PX, LEAST_BLUR_PX = 1.5, 2.0  # below, a photo is not told or left out however sharp the others are
WARN_BLUR_RATIO = 2.0
WARN_CLIPPED = 0.25
WARN_GAIN_EV, WARN_BALANCE_EV = 0.75, 0.35
NEIGHBOURS = 2  # on either side, among which a jump of the exposure shows


@dataclass(kw_only=True)
class Candidate:
    """A photo on its way to a verdict.

    Attributes:
        index: Its place among the photos found.
        found: The file.
        record: What the children recorded; empty before.
        kind: In a word, why it is not used; empty while it is.
        reason: The same in plain words.
        remarks: What to know about it, used or not, by kind.
        limits: Limits that its figures were held against.
        extra: Figures that only the comparison with the other photos gives.
    """

    index: int
    found: FoundPhoto
    record: Record = field(default_factory=dict)
    kind: str = ""
    reason: str = ""
    remarks: dict[str, str] = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)
    extra: dict[str, float] = field(default_factory=dict)

    @property
    def figures(self) -> dict[str, Any]:
        """What was measured."""
        return self.record.get("figures", {})

    def refuse(self, kind: str, reason: str) -> None:
        """Leave it out; the first reason counts."""
        if not self.kind:
            self.kind, self.reason = kind, reason

    def verdict(self) -> Verdict:
        """The verdict as later stages read it."""
        figures = {k: float(v) for k, v in (self.figures | self.extra).items() if v is not None}
        figures |= {f"mask_{k}_share": v for k, v in self.record.get("mask_figures", {}).items()}
        reason = self.reason or "; ".join([*self.remarks.values(), *self.record.get("notes", ())])
        return Verdict(
            name=self.found.name,
            used=not self.kind,
            reason=reason,
            figures=figures,
            limits={k: float(v) for k, v in self.limits.items()},
        )


def usable(candidates: list[Candidate]) -> list[Candidate]:
    """Those not yet left out."""
    return [c for c in candidates if not c.kind]


def judge_alone(candidate: Candidate, config: IngestConfig) -> None:
    """Hold one photo against the limits that need no other photo."""
    f, record = candidate.figures, candidate.record
    middle = "its object" if "mask_figures" in record else "its middle"
    candidate.limits |= {
        "long_side_px": config.min_image_px,
        "contrast": MIN_CONTRAST,
        "overexposed_share": config.max_clipped,
        "underexposed_share": config.max_clipped,
    }
    long_side, limit = max(record["width"], record["height"]), config.max_clipped
    candidate.extra["long_side_px"] = long_side
    if long_side < config.min_image_px:
        size = f"{record['width']}x{record['height']} px"
        candidate.refuse("small", f"too small: {size}, at least {config.min_image_px} px on the long side needed")
    elif f["brightest"] < BLACK:
        dark = f"99 % of it are darker than {f['brightest']:.0f} of 255, limit {BLACK}"
        candidate.refuse("dark", f"shows nothing, black as under a lens cap: {dark}")
    elif f["darkest"] > WHITE:
        bright = f"99 % of it are brighter than {f['darkest']:.0f} of 255, limit {WHITE}"
        candidate.refuse("bright", f"shows nothing, white: {bright}")
    elif f["contrast"] < MIN_CONTRAST:
        told = f"standard deviation {f['contrast']:.1f} of 255 against {MIN_CONTRAST}"
        candidate.refuse("flat", f"shows nothing: {told}")
    elif f["overexposed_share"] > limit:
        told = f"{f['overexposed_share']:.0%} of {middle} are clipped, limit {limit:.0%}"
        candidate.refuse("bright", f"over-exposed: {told}")
    elif f["underexposed_share"] > limit:
        told = f"{f['underexposed_share']:.0%} of {middle} are black, limit {limit:.0%}"
        candidate.refuse("dark", f"under-exposed: {told}")
    if f["overexposed_share"] > WARN_CLIPPED:
        candidate.remarks["clipped"] = f"{f['overexposed_share']:.0%} of {middle} are clipped"
    if doubt := doubtful_mask(record, max_soft=config.max_soft_mask):
        candidate.remarks["mask"] = doubt


def judge_sizes(candidates: list[Candidate]) -> None:
    """Leave out thumbnails among photos."""
    photos = usable(candidates)
    if not photos:
        return
    limit = SMALLEST_AGAINST_MEDIAN * statistics.median(c.extra["long_side_px"] for c in photos)
    for c in photos:
        if c.extra["long_side_px"] < limit:
            size = f"{c.record['width']}x{c.record['height']} px"
            c.refuse("small", f"too small: {size}, the others' long side is {limit / SMALLEST_AGAINST_MEDIAN:.0f} px")


def judge_blur(candidates: list[Candidate], config: IngestConfig) -> None:
    """Leave out blurred photos: beyond a limit, or far less sharp than the capture's median photo."""
    measured = [c for c in usable(candidates) if c.figures.get("blur_px") is not None]
    if not measured:
        return
    median = statistics.median(c.figures["blur_px"] for c in measured)
    limit = min(config.max_blur_px, max(LEAST_BLUR_PX, config.max_blur_ratio * median))
    remarkable = min(limit, max(WARN_BLUR_PX, WARN_BLUR_RATIO * median))
    for c in measured:
        blur = c.figures["blur_px"]
        c.limits["blur_px"] = limit
        told = f"edges are smeared by {blur:.1f} px, limit {limit:.1f}, median of the photos {median:.1f}"
        if blur > limit:
            c.refuse("blurred", f"blurred: {told}")
        elif blur > remarkable:
            c.remarks["less sharp"] = f"less sharp than the others: {told}"


def judge_copies(candidates: list[Candidate], sha256: Callable[[Candidate], str]) -> None:
    """Leave out copies: they teach nothing, and structure from motion cannot tell them apart."""
    first: dict[str, str] = {}
    for c in usable(candidates):
        names = {first.setdefault(sha256(c), c.found.name), first.setdefault(c.record["pixels"], c.found.name)}
        if other := names - {c.found.name}:
            c.refuse("copy", f"is the same picture as {other.pop()}")


def judge_bursts(candidates: list[Candidate], thumbnail_of: Callable[[Candidate], Thumbnail]) -> None:
    """Thin bursts: of near duplicates in one pass the sharpest stays."""
    passes: dict[int, list[Candidate]] = {}
    for c in usable(candidates):
        passes.setdefault(c.found.light_index, []).append(c)
    for photos in passes.values():

        def blur(index: int, photos: list[Candidate] = photos) -> float:
            measured = photos[index].figures.get("blur_px")
            return math.inf if measured is None else measured

        order = sorted(range(len(photos)), key=blur)
        for index, kept in near_duplicates([thumbnail_of(c) for c in photos], order).items():
            photos[index].refuse("burst", f"is nearly the same as {photos[kept].found.name}, which is no less sharp")


def judge_levels(candidates: list[Candidate]) -> str:
    """Estimate each photo's exposure and white balance against the capture's; returns a warning or nothing.

    The object's mean level stands for the exposure, the ratios of red and blue to green for the white balance. Both
    change with what a photo shows, but not in jumps from one photo to the next, and jumps are what is told.
    """
    photos = [c for c in usable(candidates) if c.figures.get("green") and c.figures["red"] and c.figures["blue"]]
    if len(photos) < 2 * NEIGHBOURS + 1:
        return ""
    told = []
    for name, limit, words in (
        ("gain_ev", WARN_GAIN_EV, "brightness"),
        ("red_balance_ev", WARN_BALANCE_EV, "red against green"),
        ("blue_balance_ev", WARN_BALANCE_EV, "blue against green"),
    ):
        levels = [_level(c, name) for c in photos]
        median = statistics.median(levels)
        for c, level in zip(photos, levels, strict=True):
            c.extra[name] = round(level - median, 3)
        jumps = [
            abs(level - statistics.median(levels[max(0, i - NEIGHBOURS) : i + NEIGHBOURS + 1]))
            for i, level in enumerate(levels)
        ]
        if sorted(jumps)[9 * len(jumps) // 10] > limit:
            worst = max(range(len(photos)), key=jumps.__getitem__)
            told.append(f"{words} by {jumps[worst]:.1f} stops in {photos[worst].found.name}")
    if not told:
        return ""
    return f"exposure or white balance changes between photos: {', '.join(told)}; lock both where you can"


def _level(candidate: Candidate, name: str) -> float:
    red, green, blue = (math.log2(candidate.figures[k]) for k in ("red", "green", "blue"))
    return {"red_balance_ev": red - green, "blue_balance_ev": blue - green}.get(
        name, 0.25 * red + 0.5 * green + 0.25 * blue
    )
