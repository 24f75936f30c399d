"""Every mask against the hull of the others: which photos contradict the rest, by how much, and which are inverted."""

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float

from pipeline.geometry.hull_of_others import rank_exclusions
from pipeline.geometry.tet_grid import grid_in_box
from pipeline.geometry.visual_hull import COARSE, hull_box
from pipeline.scene import Camera
from pipeline.stages.masks_views import in_parallel

RESOLUTION = 81
ROBUST_DISSENT = 0.25  # share of the masks that may be wrong altogether without hiding which ones
OUTLIER = 0.6  # a mask that agrees less with the others than this share of the median is left out of the hull
AGREED = 0.9  # masks that all agree this well with the hull of the others have no outlier: it would have cut that hull
MARGIN = 0.1  # the hull of the others is larger than the hull of all
IOU, IOU_BELOW_MEDIAN = 0.85, 0.1  # flagged below both; few photos make a fat hull, for all of them alike
OUTSIDE = 0.1  # share of a mask that no hull of the others explains
SOFT = 0.1  # share of a mask that is neither object nor surroundings, beyond its outline
SOFT_LEVELS = 0.05, 0.95
OUTLINE_PX = 2.5  # half the width of an antialiased outline after scaling
RIM, RIM_COVERED = 0.02, 0.5  # an object in the middle leaves most of the photo's rim (share of its side) free
INVERTED_IOU = 0.6
FEWEST = 3  # masks whose hull says something about another one

Image = Float[np.ndarray, "height width"]


@dataclass(frozen=True, eq=False, kw_only=True)
class MaskCheck:
    """How one mask agrees with the hull of the others; shares in [0, 1].

    Attributes:
        name: The photo's name.
        iou: Intersection over union of mask and silhouette.
        outside_share: Share of the mask beyond the silhouette.
        missing_share: Share of the silhouette that the mask lacks.
        soft_share: Share of the mask with a coverage between .05 and .95, beyond the band along its outline.
        seen: The silhouette, antialiased, at the size of the mask.
        flags: What is wrong, with the number and its limit.
    """

    name: str
    iou: float
    outside_share: float
    missing_share: float
    soft_share: float
    seen: Image = field(repr=False)
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False, kw_only=True)
class SmallMask:
    """A mask at the size at which masks are compared.

    Attributes:
        name: The photo's name.
        camera: For this size.
        mask: Coverage in [0, 1].
        distance: `outline.mask_distance` of it, pixels.
    """

    name: str
    camera: Camera
    mask: Image
    distance: Image


def hulls_of_others(
    masks: list[SmallMask], start: Float[torch.Tensor, "2 3"], dissent: float, threads: int
) -> list[Image] | None:
    """For each mask the silhouette of the hull that the others make, without those that contradict most.

    Args:
        masks: All masks of a capture.
        start: Where to look for the object.
        dissent: Share of the views that may be overruled.
        threads: How many silhouettes are drawn at a time.

    Returns:
        Coverage at the masks' sizes; none when the masks have no common object.
    """
    everyone = [True] * len(masks)
    strict = _silhouettes(masks, everyone, start, dissent, threads)
    if strict is not None and min(iou(m.mask, seen) for m, seen in zip(masks, strict, strict=True)) > AGREED:
        return strict
    robust = _silhouettes(masks, everyone, start, max(dissent, ROBUST_DISSENT), threads)
    if robust is None:
        return None
    ious = np.array([iou(m.mask, seen) for m, seen in zip(masks, robust, strict=True)])
    kept = [bool(k) for k in ious >= OUTLIER * np.median(ious)]
    return _silhouettes(masks, kept, start, dissent, threads) or robust


def _silhouettes(
    masks: list[SmallMask], kept: list[bool], start: Float[torch.Tensor, "2 3"], dissent: float, threads: int
) -> list[Image] | None:
    """Silhouettes of the hull of the `kept` masks, each without its own view."""
    inner = [m for m, k in zip(masks, kept, strict=True) if k]
    cameras, distances = [m.camera for m in inner], [m.distance for m in inner]
    box = hull_box(cameras, distances, start, dissent=dissent, resolutions=COARSE)
    if box is None:
        return None
    pad = MARGIN * (box[1] - box[0]).max()
    grid = grid_in_box(torch.stack([box[0] - pad, box[1] + pad]), resolution=RESOLUTION)
    exclusions = rank_exclusions(grid, cameras, distances, dissent=dissent)
    place = np.where(kept, np.cumsum(kept) - 1, -1)
    pairs = [(m.camera, int(index)) for m, index in zip(masks, place, strict=True)]
    return in_parallel(lambda pair: exclusions.silhouette(*pair), pairs, threads)


def check_masks(masks: list[SmallMask], seen: list[Image]) -> list[MaskCheck]:
    """Compare every mask with the silhouette of the hull of the others, and flag what stands out.

    A capture with few photos, or with photos from one side only, has a hull that is fatter than the object
    for every photo: a mask is flagged for what it differs from the capture's median.
    """
    ious = [iou(m.mask, s) for m, s in zip(masks, seen, strict=True)]
    limit = min(IOU, float(np.median(ious)) - IOU_BELOW_MEDIAN)
    checks = []
    for m, s, agreement in zip(masks, seen, ious, strict=True):
        inside, hull = m.mask > 0.5, s > 0.5
        outside = 1 - contained(m.mask, s) if inside.any() else 0.0
        missing = _share(hull & ~inside, hull)
        soft = soft_share(m)
        flags = []
        if agreement < limit:
            flags.append(f"IoU {agreement:.2f} with the hull of the others, limit {limit:.2f}")
        if outside > OUTSIDE:
            flags.append(f"{outside:.0%} of it lies outside of the hull of the others, limit {OUTSIDE:.0%}")
        if soft > SOFT:
            flags.append(f"{soft:.0%} of it is soft, limit {SOFT:.0%}")
        checks.append(
            MaskCheck(
                name=m.name,
                iou=agreement,
                outside_share=outside,
                missing_share=missing,
                soft_share=soft,
                seen=s,
                flags=tuple(flags),
            )
        )
    return checks


def soft_share(small: SmallMask) -> float:
    """Share of a mask that is neither object nor surroundings, not counting its antialiased outline."""
    low, high = SOFT_LEVELS
    soft = (small.mask > low) & (small.mask < high)
    return _share(soft & (np.abs(small.distance) > OUTLINE_PX), small.mask > low)


def find_inverted(masks: list[SmallMask], start: Float[torch.Tensor, "2 3"], threads: int) -> list[str]:
    """Names of the photos whose mask is white where the object is not: its complement fits the others.

    Masks that cover most of their photo's rim are suspected; they are inverted when the hull of the others, with all
    suspects turned around, looks like their complement.
    """
    suspects = [_rim_coverage(m.mask) > RIM_COVERED for m in masks]
    if len(masks) < FEWEST or not any(suspects):
        return []
    turned = [
        SmallMask(name=m.name, camera=m.camera, mask=1 - m.mask, distance=-m.distance) if suspect else m
        for m, suspect in zip(masks, suspects, strict=True)
    ]
    seen = hulls_of_others(turned, start, 0.0, threads)
    if seen is None:
        return []
    triples = zip(turned, suspects, seen, strict=True)
    return [m.name for m, suspect, s in triples if suspect and iou(m.mask, s) > max(INVERTED_IOU, iou(1 - m.mask, s))]


def _rim_coverage(mask: Image) -> float:
    width = max(1, round(RIM * max(mask.shape)))
    rim = np.ones(mask.shape, bool)
    rim[width:-width, width:-width] = False
    return float(mask[rim].mean())


def iou(first: Image, second: Image) -> float:
    """Intersection over union of what two images cover by more than half; 1 for two empty ones."""
    a, b = first > 0.5, second > 0.5
    return float((a & b).sum()) / float((a | b).sum()) if (a | b).any() else 1.0


def contained(mask: Image, silhouette: Image) -> float:
    """Share of what a mask covers by more than half that a silhouette covers, too."""
    inside = mask > 0.5
    return _share(inside & (silhouette > 0.5), inside)


def _share(part: Bool[np.ndarray, "height width"], whole: Bool[np.ndarray, "height width"]) -> float:
    return float(part.sum()) / max(1.0, float(whole.sum()))
