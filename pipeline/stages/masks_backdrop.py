"""Plain backdrops: photos whose rim has one colour, or one that changes smoothly."""

import cv2
import numpy as np
from jaxtyping import Bool, Float

from pipeline.stages.masks_views import WorkView, in_parallel

RIM = 0.03  # width of the rim as a share of the photo's longer side
EVEN = 4.0  # L*a*b* units: a rim that scatters more than this around a smooth function is not plain
PLAIN = 0.85  # share of the rim that must follow it, as the object may reach over the frame
MOST = 0.8  # share of the photos that must be plain
NOISE = 2.0  # scatter, at least: JPEG's blocks and soft shadows
SAMPLES = 4000


def backdrop_densities(views: list[WorkView], threads: int) -> list[Float[np.ndarray, "height width"]] | None:
    """Per pixel the probability per cubic unit of L*a*b* of its colour if it shows the backdrop.

    Returns:
        One image per view, 0 where a photo has no plain backdrop; none when most photos have none.
    """
    found = in_parallel(_density, views, threads)
    plain = sum(bool(d.any()) for d in found)
    return found if plain >= MOST * len(views) else None


def _density(view: WorkView) -> Float[np.ndarray, "height width"]:
    """The density of one photo; 0 everywhere when its rim is not plain."""
    lab = cv2.GaussianBlur(view.lab, (0, 0), 1.0)
    terms = _terms(view.shape)
    rim = _rim(view.shape)
    chosen, colors = terms[rim], lab[rim]
    every = max(1, len(chosen) // SAMPLES)
    chosen, colors = chosen[::every], colors[::every]
    kept = np.linalg.norm(colors - np.median(colors, 0), axis=1) < 5 * EVEN
    if kept.mean() < PLAIN:
        return np.zeros(view.shape, np.float32)
    for _ in range(4):
        model = np.linalg.lstsq(chosen[kept], colors[kept], rcond=None)[0]
        residual = np.linalg.norm(colors - chosen @ model, axis=1)
        kept = residual < max(NOISE, 3 * float(np.median(residual)))
    scatter = float(np.sqrt(np.square(residual[kept]).mean()))
    if kept.mean() < PLAIN or scatter > EVEN:
        return np.zeros(view.shape, np.float32)
    sigma = max(NOISE, 2 * scatter)  # the model was fitted at the rim and is used inside of it
    off = np.square(lab - terms @ model).sum(-1)
    return (np.exp(-0.5 * off / sigma**2) / (sigma * np.sqrt(2 * np.pi)) ** 3).astype(np.float32)


def _terms(shape: tuple[int, int]) -> Float[np.ndarray, "height width 6"]:
    """Quadratic polynomials in x and y from -1 to 1."""
    y, x = np.meshgrid(np.linspace(-1, 1, shape[0]), np.linspace(-1, 1, shape[1]), indexing="ij")
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], -1)


def _rim(shape: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    width = max(2, round(RIM * max(shape)))
    rim = np.ones(shape, bool)
    rim[width:-width, width:-width] = False
    return rim
