"""Photos that are larger than any stage needs, reduced by a whole factor: intrinsics are divided by it exactly."""

import hashlib

import cv2
import numpy as np
import torch
from jaxtyping import Shaped, UInt8

from pipeline.color import linear_from_srgb, srgb_from_linear

_BAND_ROWS = 256  # of the result: a photo of 200 megapixels is never held as floats


def whole_factor(width: int, height: int, max_px: int) -> int:
    """The smallest factor that brings the long side to at most `max_px`; at most the short side."""
    return min(-(-max(width, height) // max_px), width, height)


def reduced(
    image: Shaped[np.ndarray, "height width *channels"], factor: int
) -> Shaped[np.ndarray, "new_height new_width *channels"]:
    """Each `factor` x `factor` block of pixels averaged as it is encoded; rows and columns that fill none are cut."""
    height, width = image.shape[0] // factor, image.shape[1] // factor
    whole = np.ascontiguousarray(image[: height * factor, : width * factor])
    return cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)


def reduced_srgb(rgb: UInt8[np.ndarray, "height width 3"], factor: int) -> UInt8[np.ndarray, "new_height new_width 3"]:
    """As `reduced`, averaged in linear light."""
    to_linear = linear_from_srgb(torch.arange(256) / 255).numpy()
    height, width = rgb.shape[0] // factor, rgb.shape[1] // factor
    small = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, _BAND_ROWS):
        bottom = min(top + _BAND_ROWS, height)
        linear = reduced(cv2.LUT(np.ascontiguousarray(rgb[top * factor : bottom * factor]), to_linear), factor)
        small[top:bottom] = (srgb_from_linear(torch.from_numpy(linear)) * 255).round().to(torch.uint8).numpy()
    return small


def sha256_of_pixels(rgb: UInt8[np.ndarray, "height width 3"]) -> str:
    """A hash of size and pixels, however they lie in memory."""
    digest = hashlib.sha256(repr(rgb.shape).encode())
    for top in range(0, rgb.shape[0], _BAND_ROWS):
        digest.update(np.ascontiguousarray(rgb[top : top + _BAND_ROWS]).data)
    return digest.hexdigest()
