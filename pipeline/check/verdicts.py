"""Which photos are usable, from the verdicts that the ingest left on each."""

from dataclasses import asdict, dataclass
from typing import Any

from pipeline.scene import Photos, Verdict

# Figures of a verdict that must not exceed their limits, and what photographers call it when they do.
FLAWS = {"blur_px": "blurred", "overexposed_share": "over-exposed", "underexposed_share": "under-exposed"}


@dataclass(frozen=True, kw_only=True)
class PhotoReport:
    """What the ingest says about the photos.

    Attributes:
        used: Names of those that later stages see.
        left_out: Verdicts on those that they do not.
        remarks: Verdicts on used ones with something to know about them.
        flaws: Names of the photos beyond the limit of a figure, by the flaw's name.
    """

    used: tuple[str, ...]
    left_out: tuple[Verdict, ...]
    remarks: tuple[Verdict, ...]
    flaws: dict[str, list[str]]

    def record(self) -> dict[str, Any]:
        """The report for JSON."""
        return {
            "total": len(self.used) + len(self.left_out),
            "usable": len(self.used),
            "flaws": self.flaws,
            "left_out": [asdict(v) for v in self.left_out],
            "remarks": [{"name": v.name, "reason": v.reason} for v in self.remarks],
        }

    def lines(self, most: int) -> list[str]:
        """The report for the user, with at most so many photos named."""
        total = len(self.used) + len(self.left_out)
        counted = ", ".join(f"{len(names)} {flaw}" for flaw, names in self.flaws.items() if names)
        told = [f"photos      {len(self.used)} of {total} usable" + (f"; {counted}" if counted else "")]
        for title, verdicts in (("left out", self.left_out), ("take care", self.remarks)):
            told += [f"{title:<11} {v.name}: {v.reason}" for v in verdicts[:most]]
            if len(verdicts) > most:
                told.append(f"{'':<11} and {len(verdicts) - most} more, in check.json")
        return told


def report_photos(photos: Photos) -> PhotoReport:
    """Sort the verdicts."""
    flaws = {flaw: [v.name for v in photos.verdicts if _exceeds(v, figure)] for figure, flaw in FLAWS.items()}
    return PhotoReport(
        used=tuple(p.name for p in photos.photos),
        left_out=tuple(v for v in photos.verdicts if not v.used),
        remarks=tuple(v for v in photos.verdicts if v.used and v.reason),
        flaws=flaws,
    )


def _exceeds(verdict: Verdict, figure: str) -> bool:
    return figure in verdict.limits and verdict.figures.get(figure, 0.0) > verdict.limits[figure]
