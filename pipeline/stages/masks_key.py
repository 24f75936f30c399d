"""Masks before a plain backdrop (white sweep, black cloth, green screen): what is not its colour is the object.

A shadow on the backdrop has the backdrop's hue and is darker, and so has a grey part of the object. They are
told apart by their edges: shadows fade in, objects begin. GrabCut (Rother, Kolmogorov and Blake 2004) decides
where colour alone does not.
"""

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from pipeline.color import linear_from_srgb
from pipeline.config import MasksConfig
from pipeline.errors import CaptureError
from pipeline.scene import View
from pipeline.stages.masks_backdrop import Backdrop, find_backdrops
from pipeline.stages.masks_outline import refine
from pipeline.stages.masks_views import WorkView, in_parallel, load_view
from pipeline.workspace import StageContext

SURE = 2.5  # scatters from the backdrop's colour: nearer is backdrop
CLEAR = 6.0  # further away, and not by being darker alone, is object
DARKEST = 0.5  # a shadow keeps this share of the lightness L* + 16 (an eighth of the light)
EDGE = 9.0  # L*a*b* units over two pixels: shadows change more slowly
ROUNDS = 4
BLUR = 0.8  # pixels
GAP = 0.012  # of the photo's long side: what is open less widely is closed
MARKED = 1e-3  # share of a part that decides what it is
SAME = 0.03  # linear light: object and backdrop nearer than this cannot be unmixed
BLACK = 16.0  # f(L*): L* + 16 and a*, b* shrink in proportion when the light does (CIE 1976, above its toe)


def key_backdrop(views: list[View], config: MasksConfig, context: StageContext) -> list[Float[np.ndarray, "_ _"]]:
    """Labels of the object at working size.

    Raises:
        CaptureError: When most photos have no plain backdrop.
    """
    threads = context.runtime.threads
    work = in_parallel(lambda v: load_view(v, config.working_px), views, threads)
    backdrops = find_backdrops(work, threads)
    if all(b is None for b in backdrops):
        raise CaptureError("most photos have no plain backdrop", remedy="masks.method=auto tries other ways")
    context.progress(0.3, "keying the backdrop")
    return in_parallel(lambda pair: _label(*pair), zip(work, backdrops, strict=True), threads)


def _label(view: WorkView, backdrop: Backdrop | None) -> Float[np.ndarray, "height width"]:
    """Probability of being object; unsure everywhere in a photo that has no plain backdrop."""
    if backdrop is None:
        return np.full(view.shape, 0.5, np.float32)
    trimap = trimap_of(view, backdrop)
    if not (trimap == cv2.GC_FGD).any():
        return np.zeros(view.shape, np.float32)
    return cut(view.lab, trimap)


def trimap_of(view: WorkView, backdrop: Backdrop) -> UInt8[np.ndarray, "height width"]:
    """GrabCut's four labels by colour, hue and edges.

    Object for sure is what the backdrop cannot look like, but for the blurred edge; backdrop for sure is what has its
    colour and is connected to the photo's rim. What only looks like a shadow is one where it goes over into the
    backdrop without an edge.
    """
    smooth, expected = cv2.GaussianBlur(view.lab, (0, 0), BLUR), backdrop.lab(view)
    off = np.linalg.norm(smooth - expected, axis=-1) / backdrop.sigma
    edge = _slope(smooth) > EDGE
    plain = off < SURE
    shadow = _shadow_like(smooth, expected, backdrop.sigma) & ~plain & ~edge
    # an edge that contrast leaves with gaps still parts what it runs between
    reach = max(1, round(GAP * max(off.shape) / 2))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    narrowed = cv2.erode((plain | shadow).astype(np.uint8), kernel) > 0
    open_to = cv2.dilate(_parts_with(narrowed, plain).astype(np.uint8), kernel) > 0
    trimap = np.full(off.shape, cv2.GC_PR_FGD, np.uint8)
    trimap[(off > CLEAR) & ~edge & ~shadow] = cv2.GC_FGD
    trimap[open_to & (plain | shadow)] = cv2.GC_PR_BGD
    trimap[plain & _parts_with(plain, _rim(plain.shape))] = cv2.GC_BGD
    return trimap


def _parts_with(
    region: Bool[np.ndarray, "height width"], mark: Bool[np.ndarray, "height width"]
) -> Bool[np.ndarray, "height width"]:
    """The connected parts of a region of which at least a small share is marked."""
    count, parts = cv2.connectedComponents(region.astype(np.uint8), connectivity=4)
    marked = np.bincount(parts[region & mark], minlength=count)
    area = np.bincount(parts.ravel(), minlength=count)
    return region & (marked > MARKED * area)[parts]


def _rim(shape: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    rim = np.ones(shape, bool)
    rim[1:-1, 1:-1] = False
    return rim


def _shadow_like(
    lab: Float[np.ndarray, "height width 3"], expected: Float[np.ndarray, "height width 3"], sigma: float
) -> Bool[np.ndarray, "height width"]:
    """Whether a colour is the backdrop's under less light."""
    black = np.array([BLACK, 0, 0], np.float32)
    seen, plain = lab + black, expected + black
    share = (seen * plain).sum(-1) / np.square(plain).sum(-1)
    rest = np.linalg.norm(seen - share[..., None] * plain, axis=-1)
    return (rest < CLEAR * sigma / 2) & (share > DARKEST) & (share < 1)


def _slope(lab: Float[np.ndarray, "height width 3"]) -> Float[np.ndarray, "height width"]:
    """How much the colour changes over two pixels, L*a*b* units."""
    across = np.linalg.norm(cv2.filter2D(lab, -1, np.array([[-1, 0, 1]], np.float32)), axis=-1)
    down = np.linalg.norm(cv2.filter2D(lab, -1, np.array([[-1], [0], [1]], np.float32)), axis=-1)
    return np.maximum(across, down)


def unmix(
    label: Float[np.ndarray, "height width"], rgb: UInt8[np.ndarray, "rows columns 3"]
) -> Float[np.ndarray, "rows columns"]:
    """Coverage at the photo's size, from how each pixel on the outline mixes object and backdrop, in linear light.

    The colours that are mixed are those of the nearest pixels beyond the outline on both sides: a shadow is
    backdrop with its own colour. Where they are too much alike, the outline follows the photo's edges.
    """
    height, width = rgb.shape[:2]
    inside = cv2.resize(label, (width, height), interpolation=cv2.INTER_LINEAR) > 0.5
    reach = 1 + max(2, round(1.5 * width / label.shape[1]))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    inner = cv2.erode(inside.astype(np.uint8), kernel) > 0
    outer = cv2.dilate(inside.astype(np.uint8), kernel) == 0
    if not inner.any() or not outer.any():
        return refine(label, rgb)
    calm = cv2.GaussianBlur(rgb, (0, 0), 0.7)
    mixed, near, far = (_linear(c) for c in (rgb, _nearest(calm, inner), _nearest(calm, outer)))
    span = near - far
    square = np.square(span).sum(-1)
    share = ((mixed - far) * span).sum(-1) / np.maximum(square, 1e-9)
    share = np.where(square > SAME**2, share, refine(label, rgb))
    return np.where(inner, 1.0, np.where(outer, 0.0, np.clip(share, 0, 1))).astype(np.float32)


def _linear(rgb: UInt8[np.ndarray, "rows columns 3"]) -> Float[np.ndarray, "rows columns 3"]:
    return linear_from_srgb(torch.tensor(rgb, dtype=torch.float32) / 255).numpy()


def _nearest(
    rgb: UInt8[np.ndarray, "rows columns 3"], where: Bool[np.ndarray, "rows columns"]
) -> UInt8[np.ndarray, "rows columns 3"]:
    """At every pixel the colour of the nearest pixel of a region."""
    _, index = cv2.distanceTransformWithLabels(
        (~where).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    colors = np.zeros((int(index.max()) + 1, 3), np.uint8)
    colors[index[where]] = rgb[where]
    return colors[index]


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
