"""Correcting masks that the hull of the others contradicts, where it contradicts them."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float

from pipeline.config import MasksConfig
from pipeline.formats import images
from pipeline.formats.resample import resize
from pipeline.scene import View
from pipeline.stages.masks_checks import MaskCheck
from pipeline.stages.masks_key import cut
from pipeline.stages.masks_outline import refine
from pipeline.stages.masks_views import in_parallel, load_view
from pipeline.workspace import StageContext

REACH = 0.02  # of the photo's long side: how far a silhouette of the hull may be off, and how far a repair reaches


def repair(
    views: tuple[View, ...], suspects: list[MaskCheck], config: MasksConfig, context: StageContext
) -> tuple[View, ...]:
    """Return the views with new masks for the suspects, in the stage's folder `repaired`; the old files stay."""
    folder = context.folder / "repaired"
    folder.mkdir(parents=True, exist_ok=True)
    silhouettes = {check.name: check.seen for check in suspects}

    def corrected(view: View) -> View:
        return _repair(view, silhouettes[view.name], config.working_px, folder) if view.name in silhouettes else view

    return tuple(in_parallel(corrected, views, context.runtime.threads))


def _repair(view: View, silhouette: Float[np.ndarray, "_ _"], working_px: int, folder: Path) -> View:
    """Cut a mask to the silhouette, and segment anew where the two differ.

    Colours are learned from where mask and silhouette agree. What lies beyond the silhouette by more than its
    error is not object; away from the differences the mask stays as it was, with its antialiased outline.
    """
    work = load_view(view, working_px)
    height, width = work.shape
    hull = resize(silhouette, width, height) > 0.5
    mask = hull if work.given is None else work.given > 0.5
    reach = max(1, round(REACH * max(height, width)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    inner, outer = (f(hull.astype(np.uint8), kernel) > 0 for f in (cv2.erode, cv2.dilate))
    differ = (mask & ~outer) | (inner & ~mask)
    changed = cv2.dilate(differ.astype(np.uint8), kernel) > 0
    trimap = np.where(mask, cv2.GC_FGD, cv2.GC_BGD).astype(np.uint8)
    trimap[changed] = np.where(hull, cv2.GC_PR_FGD, cv2.GC_PR_BGD)[changed]
    trimap[~outer] = cv2.GC_BGD
    label = cut(work.lab, trimap)
    rgb = images.read_image(view.image_path)
    fresh = refine(label, rgb)
    old = fresh if view.mask_path is None else images.read_mask(view.mask_path).numpy()
    where = cv2.resize(changed.astype(np.uint8), (rgb.shape[1], rgb.shape[0]), interpolation=cv2.INTER_NEAREST) > 0
    path = folder / f"{view.image_path.stem}.png"
    images.write_mask(path, torch.from_numpy(np.where(where, fresh, old).astype(np.float32)))
    return dataclasses.replace(view, mask_path=path)
