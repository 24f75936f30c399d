"""Masks before a plain backdrop (white sweep, black cloth, green screen): what is not its colour is the object.

A shadow on the backdrop has the backdrop's hue and is darker, and so has a grey part of the object. They are
told apart by their edges: shadows fade in, objects begin. GrabCut (Rother, Kolmogorov and Blake 2004) decides
where colour alone does not.
"""

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from pipeline.config import MasksConfig
from pipeline.errors import CaptureError
from pipeline.scene import View
from pipeline.stages.masks_backdrop import Backdrop, find_backdrops, mostly_plain
from pipeline.stages.masks_views import WorkView, in_parallel, load_view
from pipeline.workspace import StageContext

SURE = 2.5  # scatters from the backdrop's colour: nearer is backdrop
CLEAR = 6.0  # further away, and not by being darker alone, is object
DARKEST = 0.5  # a shadow keeps this share of the lightness L* + 16 (an eighth of the light)
EDGE = 9.0  # L*a*b* units over two pixels: shadows change more slowly
ROUNDS = 4
BLACK = 16.0  # f(L*): L* + 16 and a*, b* shrink in proportion when the light does (CIE 1976, above its toe)


def key_backdrop(views: list[View], config: MasksConfig, context: StageContext) -> list[Float[np.ndarray, "_ _"]]:
    """Labels of the object at working size.

    Raises:
        CaptureError: When most photos have no plain backdrop.
    """
    threads = context.runtime.threads
    work = in_parallel(lambda v: load_view(v, config.working_px), views, threads)
    backdrops = find_backdrops(work, threads)
    if not mostly_plain(backdrops):
        plain = sum(b is not None for b in backdrops)
        raise CaptureError(
            f"{plain} of {len(views)} photos have a plain backdrop", remedy="masks.method=auto tries other ways"
        )
    context.progress(0.3, "keying the backdrop")
    return in_parallel(lambda pair: _label(*pair), zip(work, backdrops, strict=True), threads)


def _label(view: WorkView, backdrop: Backdrop | None) -> Float[np.ndarray, "height width"]:
    """Probability of being object; unsure everywhere in a photo that has no plain backdrop."""
    if backdrop is None:
        return np.full(view.shape, 0.5, np.float32)
    trimap = trimap_of(view.lab, backdrop)
    if not (trimap == cv2.GC_FGD).any():
        return np.zeros(view.shape, np.float32)
    return cut(view.lab, trimap)


def trimap_of(lab: Float[np.ndarray, "height width 3"], backdrop: Backdrop) -> UInt8[np.ndarray, "height width"]:
    """GrabCut's four labels by colour, hue and edges."""
    smooth = cv2.GaussianBlur(lab, (0, 0), 1.0)
    off = np.linalg.norm(smooth - backdrop.lab, axis=-1) / backdrop.sigma
    shadow = _shadow_like(smooth, backdrop)
    fading = _slope(smooth) < EDGE
    trimap = np.full(off.shape, cv2.GC_PR_FGD, np.uint8)
    trimap[(off > CLEAR) & ~shadow] = cv2.GC_FGD
    trimap[shadow & fading] = cv2.GC_PR_BGD
    trimap[off < SURE] = cv2.GC_BGD
    return trimap


def _shadow_like(lab: Float[np.ndarray, "height width 3"], backdrop: Backdrop) -> Bool[np.ndarray, "height width"]:
    """Whether a colour is the backdrop's under less light."""
    black = np.array([BLACK, 0, 0], np.float32)
    seen, plain = lab + black, backdrop.lab + black
    share = (seen * plain).sum(-1) / np.square(plain).sum(-1)
    rest = np.linalg.norm(seen - share[..., None] * plain, axis=-1)
    return (rest < CLEAR * backdrop.sigma / 2) & (share > DARKEST) & (share < 1)


def _slope(lab: Float[np.ndarray, "height width 3"]) -> Float[np.ndarray, "height width"]:
    """How much the colour changes over two pixels, L*a*b* units."""
    across = np.linalg.norm(cv2.filter2D(lab, -1, np.array([[-1, 0, 1]], np.float32)), axis=-1)
    down = np.linalg.norm(cv2.filter2D(lab, -1, np.array([[-1], [0], [1]], np.float32)), axis=-1)
    return np.maximum(across, down)


def cut(
    lab: Float[np.ndarray, "height width 3"], trimap: UInt8[np.ndarray, "height width"]
) -> Float[np.ndarray, "height width"]:
    """GrabCut from a first guess: 1 where the object is, 0 elsewhere; the same input gives the same labels."""
    known = [np.isin(trimap, kinds).any() for kinds in ((cv2.GC_BGD, cv2.GC_PR_BGD), (cv2.GC_FGD, cv2.GC_PR_FGD))]
    if not all(known):
        return np.full(trimap.shape, float(known[1]), np.float32)
    picture = np.clip(lab * [2.55, 1, 1] + [0, 128, 128], 0, 255).astype(np.uint8)
    labels = trimap.copy()
    cv2.setRNGSeed(0)  # of this thread: the colour models start from random clusters
    background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(picture, labels, (0, 0, 0, 0), background, foreground, ROUNDS, cv2.GC_INIT_WITH_MASK)
    return np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32)
