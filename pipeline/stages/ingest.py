"""Ingest: decode every photo once into upright 8-bit sRGB, and keep what came along with it."""

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from pipeline.config import IngestConfig
from pipeline.discovery import Source
from pipeline.errors import InputError
from pipeline.formats import images
from pipeline.scene import Photo, Photos
from pipeline.workspace import Stage, StageContext, write_json

MIN_CONTRAST = 4.0  # standard deviation in 8-bit steps; a lens cap has less


def ingest(source: Source, config: IngestConfig, context: StageContext) -> Photos:
    """Decode the photos of `source`; a photo that cannot be used is named and left out.

    Raises:
        InputError: When fewer than `config.min_photos` photos are usable.
    """
    if source.ignored:
        context.warn(f"{len(source.ignored)} files are no photos: {', '.join(source.ignored[:5])}")
    for name in ("images", "masks"):
        (context.folder / name).mkdir(exist_ok=True)
    photos: list[Photo] = []
    rejected: list[str] = []
    twins: dict[bytes, str] = {}
    for index, path in enumerate(source.photos):
        context.progress(index / len(source.photos), path.name)
        try:
            with _native_prints_to(context.folder / "decode.log"):
                decoded = _decode(path)
            if source.poses_path is None:  # poses tell views apart that look the same
                _refuse_twin(path, decoded, twins)
        except InputError as error:
            rejected.append(str(error))
            context.warn(f"left out: {error}")
            continue
        with _native_prints_to(context.folder / "decode.log"):
            photos.append(_keep(path, decoded, source.masks.get(path), f"{index:04d}", context.folder))
    if len(photos) < config.min_photos:
        first = f"; first problem: {rejected[0]}" if rejected else ""
        raise InputError(
            f"{len(photos)} of {len(source.photos)} photos usable, at least {config.min_photos} needed{first}",
            path=source.folder,
            remedy="40 or more photos from all sides make a good asset",
        )
    context.metrics.update(photos=len(photos), rejected=len(rejected))
    return Photos(photos=tuple(photos), poses_path=source.poses_path)


@contextmanager
def _native_prints_to(log: Path) -> Iterator[None]:
    """Send what libpng, libtiff and their like print about odd files to `log`: the user gets our words."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with log.open("ab") as file:
            os.dup2(file.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _decode(path: Path) -> images.DecodedPhoto:
    decoded = images.decode_photo(path)
    contrast = float(decoded.rgb.std())
    if contrast < MIN_CONTRAST:
        raise InputError(f"shows nothing: standard deviation {contrast:.1f} of 255 against {MIN_CONTRAST}", path=path)
    return decoded


def _refuse_twin(path: Path, decoded: images.DecodedPhoto, twins: dict[bytes, str]) -> None:
    """Copies of one photo teach nothing, and structure from motion cannot tell them apart."""
    first = twins.setdefault(hashlib.sha256(np.ascontiguousarray(decoded.rgb).data).digest(), path.name)
    if first != path.name:
        raise InputError(f"is the same picture as {first}", path=path)


def _keep(path: Path, decoded: images.DecodedPhoto, mask_path: Path | None, number: str, folder: Path) -> Photo:
    """Write the normalised photo and its mask under an ASCII name."""
    height, width = decoded.rgb.shape[:2]
    stem = f"{number}_" + (re.sub(r"[^A-Za-z0-9_-]+", "_", path.stem)[:80] or "photo")
    if decoded.already_clean:
        image_path = folder / "images" / (stem + path.suffix.lower())
        shutil.copyfile(path, image_path)
    else:
        image_path = folder / "images" / f"{stem}.png"
        images.write_png(image_path, decoded.rgb)
    mask = decoded.alpha if mask_path is None else _given_mask(mask_path, (height, width))
    kept = None
    if mask is not None and _says_something(mask):
        kept = folder / "masks" / f"{stem}.png"
        images.write_png(kept, mask)
    return Photo(
        name=path.name,
        image_path=image_path,
        mask_path=kept,
        width=width,
        height=height,
        focal_px=decoded.focal_px,
        camera_label=decoded.camera_label,
    )


def _given_mask(path: Path, shape: tuple[int, int]) -> UInt8[np.ndarray, "height width"]:
    mask = images.read_mask(path).numpy()
    if mask.shape != shape:
        turned = " (turned by 90 degrees)" if mask.shape == shape[::-1] else ""  # not a frame flip: a size
        raise InputError(
            f"is {mask.shape[1]}x{mask.shape[0]} px, its photo {shape[1]}x{shape[0]} px{turned}",
            path=path,
            remedy="masks must fit the upright photos pixel by pixel",
        )
    mask_8bit = np.rint(mask * 255).astype(np.uint8)
    if not _says_something(mask_8bit):
        raise InputError("is all black or all white", path=path, remedy="mark the object white, the rest black")
    return mask_8bit


def _says_something(mask: UInt8[np.ndarray, "height width"]) -> bool:
    share = float((mask > 127).mean())
    return 1e-4 < share < 1 - 1e-4


def _save(photos: Photos, folder: Path) -> None:
    def record(photo: Photo) -> dict[str, object]:
        return vars(photo) | {
            "image_path": str(photo.image_path.relative_to(folder)),
            "mask_path": photo.mask_path and str(photo.mask_path.relative_to(folder)),
        }

    poses = photos.poses_path and str(photos.poses_path.resolve())
    write_json(folder / "photos.json", {"poses_path": poses, "photos": [record(p) for p in photos.photos]})


def _load(folder: Path) -> Photos:
    saved = json.loads((folder / "photos.json").read_text(encoding="utf-8"))
    photos = tuple(
        Photo(**p | {"image_path": folder / p["image_path"], "mask_path": p["mask_path"] and folder / p["mask_path"]})
        for p in saved["photos"]
    )
    return Photos(photos=photos, poses_path=saved["poses_path"] and Path(saved["poses_path"]))


def _summary(photos: Photos) -> str:
    masks = sum(p.mask_path is not None for p in photos.photos)
    sizes = sorted({f"{p.width}x{p.height}" for p in photos.photos})
    given = "poses given" if photos.poses_path else "no poses given"
    return f"{len(photos.photos)} photos, {', '.join(sizes[:3])}, {masks} masks, {given}"


STAGE = Stage(name="ingest", version=1, compute=ingest, save=_save, load=_load, summary=_summary)
