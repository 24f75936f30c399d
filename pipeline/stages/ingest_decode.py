"""A child process that decodes photos and masks in full, measures them, and writes their normalised copies."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from pipeline.child import Progress
from pipeline.errors import InputError
from pipeline.formats import images
from pipeline.formats.files import read_regular, write_atomic
from pipeline.stages.ingest_items import Item, Record, work_through
from pipeline.stages.ingest_mask_figures import mask_figures, turned_upright
from pipeline.stages.ingest_measures import figures, thumbnail
from pipeline.stages.ingest_shrink import reduced, reduced_srgb, sha256_of_pixels, whole_factor

Mask = UInt8[np.ndarray, "height width"]
_SUFFIXES = {"JPEG": ".jpg", "PNG": ".png"}


def decode(arguments: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Record of every item what its photo and mask hold, and write both below the item's `folder`.

    Args:
        arguments: As `work_through`; items with `path`, `mask_path`, `folder`, `stem`, `kind` (of the header),
            `limits`, `max_image_px`, and `mask_orientation` (that of a mask stored like the sensor, or none).
        progress: As `work_through`.
    """
    cv2.setNumThreads(1)  # the children share the cores
    return work_through(arguments, progress, _normalise)


def _normalise(item: Item) -> Record:
    folder, stem = Path(item["folder"]), item["stem"]
    decoded = images.decode_photo(Path(item["path"]))
    height, width = decoded.rgb.shape[:2]
    mask, mask_record = _mask(item, decoded)
    rgb, alpha, deep, notes = decoded.rgb, decoded.alpha, decoded.deep, list(decoded.notes)
    factor = whole_factor(width, height, item["max_image_px"])
    if factor > 1:
        rgb = reduced_srgb(rgb, factor)
        mask, alpha, deep = (None if each is None else reduced(each, factor) for each in (mask, alpha, deep))
        notes.append(f"scaled down from {width}x{height} to {rgb.shape[1]}x{rgb.shape[0]}")
    image_path = _write(item, rgb, verbatim=decoded.already_clean and factor == 1)
    if mask is not None:
        images.write_png(folder / "masks" / f"{stem}.png", mask, compress_level=1)
    np.save(folder / item["thumbnail"], thumbnail(rgb, alpha))
    return {
        "image": image_path.relative_to(folder).as_posix(),
        "mask_image": None if mask is None else f"masks/{stem}.png",
        "deep": None if deep is None else f"deep/{images.write_deep(folder / 'deep' / stem, deep).name}",
        "width": rgb.shape[1],
        "height": rgb.shape[0],
        "focal_px": None if decoded.focal_px is None else decoded.focal_px / factor,
        "camera_label": decoded.camera_label,
        "exif_exposure": decoded.exif_exposure,
        "orientation": decoded.orientation,
        "notes": notes,
        "thumbnail": item["thumbnail"],
        "figures": figures(rgb, mask, alpha),
        "pixels": sha256_of_pixels(decoded.rgb),
        **mask_record,
    }


def _write(item: Item, rgb: UInt8[np.ndarray, "height width 3"], *, verbatim: bool) -> Path:
    """Write the normalised photo: the file itself where that means the same to every reader."""
    source, folder = Path(item["path"]), Path(item["folder"]) / "images"
    if verbatim:
        path = folder / (item["stem"] + _SUFFIXES.get(item["kind"], source.suffix.lower()))
        write_atomic(path, read_regular(source, max_bytes=item["limits"]["max_bytes"]))
    else:
        path = folder / (item["stem"] + ".png")
        images.write_png(path, rgb, compress_level=1)
    return path


def _mask(item: Item, decoded: images.DecodedPhoto) -> tuple[Mask | None, Record]:
    """The photo's mask, if one says something, and what is wrong with it, or what it shows."""
    shape, alpha = decoded.rgb.shape[:2], decoded.alpha
    if item["mask_path"] is None:
        useful = alpha is not None and 0 < float((alpha > 127).mean()) < 1
        return (alpha, mask_figures(alpha)) if alpha is not None and useful else (None, {})
    try:
        mask = np.rint(images.read_mask(Path(item["mask_path"])).numpy() * 255).astype(np.uint8)
    except InputError as error:
        return None, {"mask_problem": error.what}
    turn = item["mask_orientation"]
    if turn is None and mask.shape != shape and mask.shape == decoded.stored_size[::-1]:  # not a frame flip: a size
        turn = decoded.orientation
    if turn is not None:
        mask = turned_upright(mask, turn)
    if mask.shape != shape:
        by_90 = " (turned by 90 degrees)" if mask.shape == shape[::-1] else ""  # not a frame flip: a size
        problem = f"is {mask.shape[1]}x{mask.shape[0]} px, its photo {shape[1]}x{shape[0]} px{by_90}"
        return None, {"mask_problem": problem}
    return mask, mask_figures(mask) | {"mask_turned": turn or 1}
