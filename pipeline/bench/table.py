"""The figures of all captures as one table of Markdown."""

from collections.abc import Sequence
from typing import Any

# Heading, where the figure stands in a capture's record, factor, format.
_COLUMNS: tuple[tuple[str, str, int | float, str], ...] = (
    ("view dB", "view.psnr_db", 1, ".1f"),
    ("SSIM", "view.ssim", 1, ".3f"),
    ("relit dB", "relit.psnr_db", 1, ".1f"),
    ("SSIM", "relit.ssim", 1, ".3f"),
    ("scaled dB", "relit_scaled.psnr_db", 1, ".1f"),
    ("SSIM", "relit_scaled.ssim", 1, ".3f"),
    ("base dB", "base_color.psnr_db", 1, ".1f"),
    ("scaled dB", "base_color.psnr_scaled_db", 1, ".1f"),
    ("rough.", "roughness_mae", 1, ".3f"),
    ("metal.", "metallic_mae", 1, ".3f"),
    ("normal °", "normal_deg", 1, ".1f"),
    ("Chamfer %", "surface.chamfer_pct", 1, ".3f"),
    ("F 1 %", "surface.f_score", 1, ".3f"),
    ("triangles", "triangles", 1, "d"),
    ("wall min", "cost.wall_s", 1 / 60, ".1f"),
    ("CPU min", "cost.cpu_s", 1 / 60, ".1f"),
    ("GiB", "cost.peak_mib", 1 / 1024, ".1f"),
    ("device", "cost.device", 1, "s"),
)
_ABSENT = "–"


def table(records: Sequence[dict[str, Any]]) -> list[str]:
    """The lines of a table with a row for each capture; a dash stands for what could not be measured."""
    rows = [["capture", *(heading for heading, *_ in _COLUMNS)]]
    for record in records:
        if "error" in record:
            rows.append([record["capture"], "failed", *[_ABSENT] * (len(_COLUMNS) - 1)])
        else:
            rows.append([record["capture"], *(_cell(record, *column) for column in _COLUMNS)])
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = [
        "| "
        + " | ".join(cell.rjust(w) if k else cell.ljust(w) for k, (cell, w) in enumerate(zip(row, widths, strict=True)))
        + " |"
        for row in rows
    ]
    rule = "|" + "|".join("-" * (w + 2) if k == 0 else "-" * (w + 1) + ":" for k, w in enumerate(widths)) + "|"
    return [lines[0], rule, *lines[1:]]


def _cell(record: dict[str, Any], heading: str, where: str, factor: int | float, form: str) -> str:
    value: Any = record
    for key in where.split("."):
        value = None if value is None else value.get(key)
    if value is None:
        return _ABSENT
    return format(value if form in ("d", "s") else value * factor, form)
