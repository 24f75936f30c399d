"""A child process that decodes photos and masks in full, measures them, and writes their normalised copies."""

import hashlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import UInt8

from pipeline.child import Progress
from pipeline.color import linear_from_srgb, srgb_from_linear
from pipeline.errors import InputError
from pipeline.formats import images
from pipeline.formats.files import read_regular, write_atomic
from pipeline.formats.resample import resize
from pipeline.stages.ingest_items import Item, Record, work_through
from pipeline.stages.ingest_mask_figures import mask_figures, turned_upright
from pipeline.stages.ingest_measures import figures, thumbnail

Mask = UInt8[np.ndarray, "height width"]
_SUFFIXES = {"JPEG": ".jpg", "PNG": ".png"}


def decode(arguments: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Record of every item what its photo and mask hold, and write both below the item's `folder`.

    Args:
        arguments: As `work_through`; items with `path`, `mask_path`, `folder`, `stem`, `kind` (of the header),
            `limits`, `max_image_px`, and `mask_orientation` (by which a
            mask stored like the sensor is turned; none for others).
        progress: As `work_through`.
    """
    cv2.setNumThreads(1)  # the children share the cores
    return work_through(arguments, progress, _normalise)


def _normalise(item: Item) -> Record:
    path, folder, stem = Path(item["path"]), Path(item["folder"]), item["stem"]
    decoded = images.decode_photo(path)
    height, width = decoded.rgb.shape[:2]
    mask, mask_record = _mask(item, decoded)
    scale = min(1.0, item["max_image_px"] / max(width, height))
    notes = list(decoded.notes)
    rgb, deep = decoded.rgb, decoded.deep
    alpha = decoded.alpha
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        notes.append(f"scaled down from {width}x{height} to {size[0]}x{size[1]}")
        rgb = _shrunk(rgb, *size)
        mask, alpha, deep = (None if each is None else resize(each, *size) for each in (mask, alpha, deep))
    if decoded.already_clean and scale == 1:
        image_path = folder / "images" / (stem + _SUFFIXES.get(item["kind"], path.suffix.lower()))
        write_atomic(image_path, read_regular(path, max_bytes=item["limits"]["max_bytes"]))
    else:
        image_path = folder / "images" / f"{stem}.png"
        images.write_png(image_path, rgb)
    if mask is not None:
        images.write_png(folder / "masks" / f"{stem}.png", mask)
    np.save(folder / item["thumbnail"], thumbnail(rgb, alpha))
    return {
        "image": image_path.relative_to(folder).as_posix(),
        "mask_image": None if mask is None else f"masks/{stem}.png",
        "deep": None if deep is None else f"deep/{images.write_deep(folder / 'deep' / stem, deep).name}",
        "width": rgb.shape[1],
        "height": rgb.shape[0],
        "focal_px": None if decoded.focal_px is None else decoded.focal_px * rgb.shape[1] / width,
        "camera_label": decoded.camera_label,
        "orientation": decoded.orientation,
        "notes": notes,
        "thumbnail": item["thumbnail"],
        "figures": figures(rgb, mask, alpha),
        "pixels": hashlib.sha256(np.ascontiguousarray(decoded.rgb).data).hexdigest(),
        **mask_record,
    }


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


def _shrunk(
    rgb: UInt8[np.ndarray, "height width 3"], width: int, height: int
) -> UInt8[np.ndarray, "new_height new_width 3"]:
    """Averaged in linear light, a channel at a time to save memory."""
    to_linear = linear_from_srgb(torch.arange(256) / 255).numpy()
    channels = [resize(to_linear[rgb[..., k]], width, height) for k in range(3)]
    encoded = srgb_from_linear(torch.from_numpy(np.stack(channels, -1)))
    return np.asarray((encoded * 255).round().to(torch.uint8))
