"""Colour models: smoothed histograms over CIE L*a*b* of what is object and what is not."""

import numpy as np
from jaxtyping import Float, Int
from scipy import ndimage

BINS = 32
BIN_VOLUME = (100 / BINS) * 4.0 * 4.0  # bins are 3.1 x 4 x 4 units: a little above the noise of a photo
UNIFORM = 0.02  # share of pixels that may have any colour at all


def color_bins(lab: Float[np.ndarray, "*shape 3"]) -> Int[np.ndarray, "*shape"]:
    """The histogram bin of each colour."""
    lightness = np.clip(lab[..., 0] * (BINS / 100), 0, BINS - 1).astype(np.int32)
    green_red = np.clip(lab[..., 1] / 4 + BINS / 2, 0, BINS - 1).astype(np.int32)
    blue_yellow = np.clip(lab[..., 2] / 4 + BINS / 2, 0, BINS - 1).astype(np.int32)
    return (lightness * BINS + green_red) * BINS + blue_yellow


def color_counts(bins: Int[np.ndarray, "*shape"], weights: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "bins"]:
    """The weight in each bin."""
    return np.bincount(bins.ravel(), weights=weights.ravel(), minlength=BINS**3)


def color_density(counts: Float[np.ndarray, "bins"]) -> Float[np.ndarray, "bins"]:
    """Probability per cubic unit of L*a*b*; without any weight, the same everywhere."""
    smooth = ndimage.gaussian_filter(counts.reshape(BINS, BINS, BINS), 0.8, mode="nearest").ravel()
    total = smooth.sum()
    shares = smooth / total if total > 0 else np.zeros_like(smooth)
    return ((1 - UNIFORM) * shares + UNIFORM / BINS**3) / BIN_VOLUME


PLACES = (9, 12)  # cells of the image, down and across, that have colours of their own
TONES = (20, 16, 16)  # their bins of L*, a*, b*
CONFIDENCE = 30.0  # pixels of a colour around a place that count as much as all other photos together


def local_log_odds(
    lab: Float[np.ndarray, "height width 3"],
    object_share: Float[np.ndarray, "height width"],
    other_share: Float[np.ndarray, "height width"],
    log_odds: Float[np.ndarray, "height width"],
) -> Float[np.ndarray, "height width"]:
    """Log-odds of being object by the labels of pixels of like colour nearby, on top of what colours say overall.

    A blurred grid over place and colour (a bilateral grid: Chen, Paris and Durand 2007) holds the labels.

    Args:
        lab: The photo.
        object_share: How sure each pixel is object.
        other_share: How sure it is not.
        log_odds: What holds where the grid knows nothing.
    """
    height, width = log_odds.shape
    shape = (*PLACES, *TONES)
    tone = np.stack([lab[..., 0] * (TONES[0] / 100), lab[..., 1] / 6 + TONES[1] / 2, lab[..., 2] / 6 + TONES[2] / 2])
    tone = np.ravel_multi_index(
        tuple(np.clip(t, 0, n - 1).astype(np.int32) for t, n in zip(tone, TONES, strict=True)), TONES
    )
    corners = _corners(height, width)
    counts = []
    for share in (object_share, other_share):
        grid = np.zeros(int(np.prod(shape)))
        for place, weight in corners:
            grid += np.bincount((place + tone).ravel(), weights=(weight * share).ravel(), minlength=len(grid))
        blurred = ndimage.gaussian_filter(
            grid.reshape(shape).astype(np.float32), (0.8, 0.8, 0.7, 0.6, 0.6), mode="nearest", truncate=2.0
        ).ravel()
        counts.append(np.sum([weight * blurred[place + tone] for place, weight in corners], 0))
    prior = 1 / (1 + np.exp(-log_odds))
    pixels = CONFIDENCE * (height * width) / (480 * 640) / 10
    return np.log((counts[0] + pixels * prior) / (counts[1] + pixels * (1 - prior)))


def _corners(
    height: int, width: int
) -> list[tuple[Int[np.ndarray, "height width"], Float[np.ndarray, "height width"]]]:
    """For each pixel the four places around it, as offsets into the grid, and their weights (bilinear)."""
    lines = []
    for pixels, places in ((height, PLACES[0]), (width, PLACES[1])):
        at = np.clip((np.arange(pixels) + 0.5) * (places / pixels) - 0.5, 0, places - 1)
        first = np.minimum(at.astype(np.int32), places - 2)
        lines.append(((first, 1 - (at - first)), (first + 1, at - first)))
    tones = int(np.prod(TONES))
    return [
        ((y[:, None] * PLACES[1] + x[None]) * tones, (v[:, None] * w[None]).astype(np.float32))
        for y, v in lines[0]
        for x, w in lines[1]
    ]
