"""From labels at working size to an antialiased mask of the full photo."""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

SPECK = 0.002  # parts and holes smaller than this share of the object are noise
EVENNESS = 0.02  # standard deviation of the photo's lightness (of 1) below which it has no edge to follow


def clean(
    label: Float[np.ndarray, "height width"], seen: Float[np.ndarray, "height width"]
) -> Float[np.ndarray, "height width"]:
    """Drop parts that the other photos do not see and specks, and fill pinholes."""
    inside = label > 0.5
    limit = SPECK * inside.sum()
    result = label.copy()
    count, parts, stats, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8), connectivity=8)
    supported = np.bincount(parts.ravel(), weights=(seen > 0.5).ravel(), minlength=count)
    for part in range(1, count):
        area = stats[part, cv2.CC_STAT_AREA]
        if area < limit or supported[part] < 0.3 * area:
            result[parts == part] = 0
    count, holes, stats, _ = cv2.connectedComponentsWithStats((result <= 0.5).astype(np.uint8), connectivity=4)
    for hole in range(1, count):
        if stats[hole, cv2.CC_STAT_AREA] < limit:
            result[holes == hole] = 1
    return result


def refine(
    label: Float[np.ndarray, "height width"], rgb: UInt8[np.ndarray, "rows columns 3"]
) -> Float[np.ndarray, "rows columns"]:
    """Coverage at the photo's size: the outline snaps to its edges and is about a pixel wide.

    A guided filter (He, Sun and Tang 2010) moves the enlarged outline on to the photo's edges; the slope across
    it is then brought to one pixel.
    """
    height, width = rgb.shape[:2]
    enlarged = cv2.resize(label, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    radius = max(2, round(1.5 * width / label.shape[1]))
    guide = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    size = (2 * radius + 1, 2 * radius + 1)
    mean_guide, mean_label = cv2.blur(guide, size), cv2.blur(enlarged, size)
    slope = (cv2.blur(guide * enlarged, size) - mean_guide * mean_label) / (
        np.maximum(cv2.blur(guide * guide, size) - mean_guide**2, 0) + EVENNESS**2
    )
    offset = mean_label - slope * mean_guide
    followed = cv2.blur(slope, size) * guide + cv2.blur(offset, size)
    return np.clip((followed - 0.5) * (radius + 1) + 0.5, 0, 1).astype(np.float32)
