"""Image resampling by OpenCV, with corner-based pixel coordinates."""

import cv2
import numpy as np
from jaxtyping import Float, UInt8


def resample(image: UInt8[np.ndarray, "..."], pixels: Float[np.ndarray, "height width 2"]) -> UInt8[np.ndarray, "..."]:
    """Look an image up at fractional pixels (x, y; first centre at 0.5), bicubic, edge repeated.

    Args:
        image: (H, W) or (H, W, C).
        pixels: Where each pixel of the result lies in `image`.
    """
    centred = (pixels - 0.5).astype(np.float32)  # OpenCV's first centre is at 0
    x, y = np.ascontiguousarray(centred[..., 0]), np.ascontiguousarray(centred[..., 1])
    result = cv2.remap(image, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(result, np.uint8)


def resize(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize: area average when shrinking, bilinear when growing; (H, W) or (H, W, C), any float or 8-bit type."""
    shrinking = width < image.shape[1] or height < image.shape[0]
    return np.asarray(
        cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)
    )
