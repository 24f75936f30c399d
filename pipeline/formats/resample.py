"""Image resampling by OpenCV, with corner-based pixel coordinates."""

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8, UInt16

Pixels = UInt8[np.ndarray, "..."] | UInt16[np.ndarray, "..."] | Float32[np.ndarray, "..."]


def resample(image: Pixels, pixels: Float[np.ndarray, "height width 2"]) -> Pixels:
    """Look an image up at fractional pixels (x, y; first centre at 0.5), bicubic, edge repeated.

    Args:
        image: (H, W) or (H, W, C), 8 or 16 bits or radiance, which the overshoot at edges does not make negative.
        pixels: Where each pixel of the result lies in `image`.
    """
    centred = (pixels - 0.5).astype(np.float32)  # OpenCV's first centre is at 0
    x, y = np.ascontiguousarray(centred[..., 0]), np.ascontiguousarray(centred[..., 1])
    result = cv2.remap(image, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(np.maximum(result, 0), image.dtype)


def resize(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize: area average when shrinking, bilinear when growing; (H, W) or (H, W, C), of 8 or 16 bits or floats."""
    shrinking = width < image.shape[1] or height < image.shape[0]
    return np.asarray(
        cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)
    )
