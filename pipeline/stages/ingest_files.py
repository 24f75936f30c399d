"""The files of ingest's folder; docs/formats.md describes them."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.discovery import Source
from pipeline.scene import Photo, Photos, Verdict
from pipeline.stages.ingest_verdicts import Candidate
from pipeline.workspace import write_json

WORK = "work"  # what the children leave while they work
PHOTOS, VERDICTS, MANIFEST = "photos.json", "verdicts.json", "manifest.json"
FOLDERS = ("images", "masks", "deep")
_PATHS = ("image_path", "mask_path", "deep_path")


def write_verdicts(verdicts: list[Verdict], folder: Path) -> None:
    """Write what was decided about each photo, whether or not the run goes on."""
    write_json(folder / VERDICTS, [asdict(v) for v in verdicts])


def write_manifest(candidates: list[Candidate], source: Source, folder: Path) -> None:
    """Write where each normalised file came from."""
    write_json(
        folder / MANIFEST,
        {
            "ignored": list(source.ignored),
            "photos": [_entry(c, source) for c in candidates],
        },
    )


def _entry(candidate: Candidate, source: Source) -> dict[str, Any]:
    found, record, verdict = candidate.found, candidate.record, candidate.verdict()
    header = record.get("photo") or {}
    stored = not candidate.kind
    mask = found.mask and {
        "path": str(found.mask),
        "sha256": source.sha256.get(found.mask),
        "orientation_applied": record.get("mask_turned"),
    }
    return {
        "name": found.name,
        "path": str(found.video or found.path),
        "pass": found.light_index,
        "sha256": source.sha256.get(found.video or found.path),
        "bytes": found.path.stat().st_size if found.path in source.sha256 else None,
        "format": header.get("kind"),
        "orientation_applied": record.get("orientation"),
        "used": verdict.used,
        "reason": verdict.reason,
        "image": record.get("image") if stored else None,
        "deep": record.get("deep") if stored else None,
        "mask": record.get("mask_image") if stored else None,
        "mask_source": mask or ("alpha" if record.get("mask_image") else None),
        "width": record.get("width"),
        "height": record.get("height"),
        "notes": record.get("notes", []),
    }


def tidy(candidates: list[Candidate], folder: Path) -> None:
    """Remove the copies of photos that are not used, and what the children needed."""
    kept = {c.record.get(key) for c in candidates if not c.kind for key in ("image", "mask_image", "deep")}
    for name in FOLDERS:
        for path in (folder / name).iterdir():
            if f"{name}/{path.name}" not in kept:
                path.unlink()
    logs = sorted((folder / WORK).glob("*.log"))
    text = b"".join(log.read_bytes() for log in logs)
    shutil.rmtree(folder / WORK)
    if text:
        (folder / "decode.log").write_bytes(text)


def save(photos: Photos, folder: Path) -> None:
    """Write `photos.json`, with paths relative to `folder`; the verdicts lie beside it."""

    def record(photo: Photo) -> dict[str, object]:
        paths = {key: getattr(photo, key) for key in _PATHS}
        return vars(photo) | {k: path and path.relative_to(folder).as_posix() for k, path in paths.items()}

    poses = photos.poses_path and str(photos.poses_path.resolve())
    write_json(folder / PHOTOS, {"poses_path": poses, "photos": [record(p) for p in photos.photos]})


def load(folder: Path) -> Photos:
    """Read what `save` and `write_verdicts` wrote."""
    saved = json.loads((folder / PHOTOS).read_text(encoding="utf-8"))
    verdicts = json.loads((folder / VERDICTS).read_text(encoding="utf-8"))
    return Photos(
        photos=tuple(Photo(**p | {key: p[key] and folder / p[key] for key in _PATHS}) for p in saved["photos"]),
        poses_path=saved["poses_path"] and Path(saved["poses_path"]),
        verdicts=tuple(Verdict(**v) for v in verdicts),
    )
