"""What a photo's pixels say about its use: sharpness, exposure, and a small copy that tells near duplicates."""

import math

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from pipeline.color import linear_from_srgb

Rgb = UInt8[np.ndarray, "height width 3"]
Grey = Float[np.ndarray, "height width"]

WORKING_PX = 1024  # long side at which blur is measured: photos of any size have one scale, and noise averages out
THUMBNAIL_PX = 256

_NARROW_PX, _WIDE_PX = 1.0, 2.0  # the two scales at which the gradient is measured
_STENCIL_VARIANCE = 1 / 3  # of a central difference, which is a derivative after a box of 2 px
_DIRECTIONS = 6
_FLOOR = 1.5  # 8-bit steps a pixel at the wide scale; weaker gradients are noise or shading
_FEWEST_EDGES, _SMALLEST_SHARE = 40, 0.03  # of edges in one direction, for it to count
_STRONGEST = 0.25
_SHARPEST_PERCENT = 25
_MARGIN_PX = 4
_CLIPPED = 252  # JPEG lets clipped areas ripple by a few steps
_CRUSHED = 4
_MIDDLE = 0.6  # of width and height: where the object stands

_TO_LINEAR = linear_from_srgb(torch.arange(256) / 255).numpy()


def blur_px(grey: Grey, inside: Bool[np.ndarray, "height width"] | None = None) -> float:
    """Standard deviation in pixels of the Gaussian that smears the picture's sharp edges; nan without edges to judge.

    A step edge that a Gaussian of deviation b smeared has, seen through Gaussian derivatives of deviations s and t,
    peak gradients in the ratio R = sqrt((b^2 + t^2) / (b^2 + s^2)), whatever its contrast, so that
    b^2 = (t^2 - R^2 s^2) / (R^2 - 1) (Zhuo and Sim, Defocus map estimation from a single image, 2011). Of each
    direction the strongest edges count, of these the sharpest quarter (what lies behind the object may be soft), and
    the worst direction is returned, as a shaken camera smears but one.

    Args:
        grey: Luminance in 8-bit steps.
        inside: Where edges count, or none for everywhere.
    """
    wide_x, wide_y, wide = _gradient(grey, _WIDE_PX)
    _, _, narrow = _gradient(grey, _NARROW_PX)
    candidate = wide > _FLOOR
    candidate[:_MARGIN_PX] = candidate[-_MARGIN_PX:] = False
    candidate[:, :_MARGIN_PX] = candidate[:, -_MARGIN_PX:] = False
    if inside is not None:
        size = 2 * _MARGIN_PX + 1
        candidate &= cv2.erode(inside.astype(np.uint8), np.ones((size, size), np.uint8)) > 0
    y, x = np.nonzero(candidate)
    slope_x, slope_y, slope = wide_x[y, x], wide_y[y, x], wide[y, x]
    step_x, step_y = np.rint(slope_x / slope).astype(np.intp), np.rint(slope_y / slope).astype(np.intp)
    on_edge = (slope >= wide[y + step_y, x + step_x]) & (slope >= wide[y - step_y, x - step_x])
    slope, ratio = slope[on_edge], (narrow[y, x] / slope)[on_edge]
    squared = np.maximum(ratio * ratio, 1.0001)
    variance = (_WIDE_PX**2 - squared * _NARROW_PX**2) / (squared - 1) - _STENCIL_VARIANCE
    deviation = np.sqrt(np.clip(variance, 0, None))
    turn = np.arctan2(slope_y[on_edge], slope_x[on_edge]) / math.pi
    direction = np.floor(turn * _DIRECTIONS).astype(np.intp) % _DIRECTIONS
    blurs = [
        _sharp_quarter(deviation[direction == k], slope[direction == k])
        for k in range(_DIRECTIONS)
        if np.count_nonzero(direction == k) >= max(_FEWEST_EDGES, _SMALLEST_SHARE * len(slope))
    ]
    return max(blurs, default=math.nan)


def _gradient(grey: Grey, deviation_px: float) -> tuple[Grey, Grey, Grey]:
    """The derivatives along x and y of the smoothed picture, in steps a pixel, and their length."""
    smooth = cv2.GaussianBlur(grey, (0, 0), deviation_px)
    along_x = cv2.Scharr(smooth, cv2.CV_32F, 1, 0, scale=1 / 32)
    along_y = cv2.Scharr(smooth, cv2.CV_32F, 0, 1, scale=1 / 32)
    return along_x, along_y, cv2.magnitude(along_x, along_y)


def _sharp_quarter(deviation: Float[np.ndarray, "edges"], slope: Float[np.ndarray, "edges"]) -> float:
    count = max(_FEWEST_EDGES, round(_STRONGEST * len(slope)))
    strongest = np.argpartition(slope, len(slope) - count)[-count:]
    return float(np.percentile(deviation[strongest], _SHARPEST_PERCENT))


def small_grey(rgb: Rgb, long_side_px: int) -> Float[np.ndarray, "small_height small_width"]:
    """Luma in 8-bit steps, area-averaged to a long side of at most `long_side_px`."""
    grey = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY)
    return _fitted(grey, long_side_px).astype(np.float32)


def _fitted(image: np.ndarray, long_side_px: int) -> np.ndarray:
    height, width = image.shape[:2]
    scale = long_side_px / max(height, width)
    if scale >= 1:
        return image
    return cv2.resize(
        image, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA
    )


def figures(
    rgb: Rgb, mask: UInt8[np.ndarray, "height width"] | None, alpha: UInt8[np.ndarray, "height width"] | None
) -> dict[str, float | None]:
    """What a photo is judged by.

    A mask says where exposure matters. It does not say where blur is looked for: a dark object may have no edge inside
    that tells. Only alpha does, as what it hides is no photo.

    `blur_px` (see there; of a picture at most `WORKING_PX` wide or high; none without edges), `contrast` (standard
    deviation of the luma), `darkest` and `brightest` (the 1st and 99th percentile of the luma), `overexposed_share`
    and `underexposed_share` (of the object, or without a mask of the picture's middle), and `red`, `green`, `blue`
    (mean linear levels there, of what is neither).
    """
    step = max(1, min(rgb.shape[:2]) // 400)
    sample = rgb[::step, ::step]
    height, width = sample.shape[:2]
    if mask is not None:
        inside = mask[::step, ::step] > 127
    else:
        inside = np.zeros((height, width), bool)
        top, left = round(height * (1 - _MIDDLE) / 2), round(width * (1 - _MIDDLE) / 2)
        inside[top : height - top, left : width - left] = True
    object_rgb = sample[inside] if inside.any() else sample.reshape(-1, 3)
    over, under = object_rgb.max(-1) >= _CLIPPED, object_rgb.max(-1) <= _CRUSHED
    valid = object_rgb[~(over | under)]
    red, green, blue = _TO_LINEAR[valid].mean(0).tolist() if len(valid) else (None, None, None)
    luma = cv2.cvtColor(np.ascontiguousarray(sample), cv2.COLOR_RGB2GRAY)
    grey = small_grey(rgb, WORKING_PX)
    where = None if alpha is None else _fitted(alpha, WORKING_PX) > 127
    blur = blur_px(grey, where)
    return {
        "blur_px": None if math.isnan(blur) else round(blur, 3),
        "contrast": round(float(luma.std()), 2),
        "darkest": float(np.percentile(luma, 1)),
        "brightest": float(np.percentile(luma, 99)),
        "overexposed_share": round(float(over.mean()), 4),
        "underexposed_share": round(float(under.mean()), 4),
        "red": red,
        "green": green,
        "blue": blue,
    }


def thumbnail(
    rgb: Rgb, alpha: UInt8[np.ndarray, "height width"] | None
) -> UInt8[np.ndarray, "small_height small_width"]:
    """A small grey copy by which near duplicates are told; what alpha hides is mid-grey."""
    small = small_grey(rgb, THUMBNAIL_PX)
    if alpha is not None:
        opacity = cv2.resize(alpha, (small.shape[1], small.shape[0]), interpolation=cv2.INTER_AREA) / 255
        small = small * opacity + 127 * (1 - opacity)
    return np.rint(small).astype(np.uint8)
