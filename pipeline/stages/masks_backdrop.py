"""Plain backdrops: photos whose rim has one colour, or one that changes smoothly."""

from dataclasses import dataclass

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
BLUR = 1.0  # pixels, against the noise of single ones


@dataclass(frozen=True, eq=False, kw_only=True)
class Backdrop:
    """The plain backdrop of one photo.

    Attributes:
        lab: Its colour at every pixel, L*a*b*.
        sigma: How far colours scatter around it, L*a*b* units.
    """

    lab: Float[np.ndarray, "height width 3"]
    sigma: float

    def density(self, lab: Float[np.ndarray, "height width 3"]) -> Float[np.ndarray, "height width"]:
        """Probability per cubic unit of L*a*b* of each pixel's colour if it shows the backdrop."""
        off = np.square(cv2.GaussianBlur(lab, (0, 0), BLUR) - self.lab).sum(-1)
        volume = (self.sigma * np.sqrt(2 * np.pi)) ** 3
        return (np.exp(-0.5 * off / self.sigma**2) / volume).astype(np.float32)


def find_backdrops(views: list[WorkView], threads: int) -> list[Backdrop | None]:
    """The backdrop of every photo that has a plain one."""
    return in_parallel(_find, views, threads)


def mostly_plain(backdrops: list[Backdrop | None]) -> bool:
    """Whether most photos have a plain backdrop."""
    return sum(b is not None for b in backdrops) >= MOST * len(backdrops)


def backdrop_densities(views: list[WorkView], threads: int) -> list[Float[np.ndarray, "height width"]] | None:
    """Per pixel the probability per cubic unit of L*a*b* of its colour if it shows the backdrop.

    Returns:
        One image per view, 0 where a photo has no plain backdrop; none when most photos have none.
    """
    found = find_backdrops(views, threads)
    if not mostly_plain(found):
        return None
    pairs = zip(views, found, strict=True)
    return [np.zeros(v.shape, np.float32) if b is None else b.density(v.lab) for v, b in pairs]


def _find(view: WorkView) -> Backdrop | None:
    """Fit a smooth function to the colours of the rim; none when they do not follow it."""
    lab = cv2.GaussianBlur(view.lab, (0, 0), BLUR)
    terms = _terms(view.shape)
    rim = _rim(view.shape)
    chosen, colors = terms[rim], lab[rim]
    every = max(1, len(chosen) // SAMPLES)
    chosen, colors = chosen[::every], colors[::every]
    kept = np.linalg.norm(colors - np.median(colors, 0), axis=1) < 5 * EVEN
    if kept.mean() < PLAIN:
        return None
    for _ in range(4):
        model = np.linalg.lstsq(chosen[kept], colors[kept], rcond=None)[0]
        residual = np.linalg.norm(colors - chosen @ model, axis=1)
        kept = residual < max(NOISE, 3 * float(np.median(residual)))
    scatter = float(np.sqrt(np.square(residual[kept]).mean()))
    if kept.mean() < PLAIN or scatter > EVEN:
        return None
    sigma = max(NOISE, 2 * scatter)  # the model was fitted at the rim and is used inside of it
    return Backdrop(lab=(terms @ model).astype(np.float32), sigma=sigma)


def _terms(shape: tuple[int, int]) -> Float[np.ndarray, "height width 6"]:
    """Quadratic polynomials in x and y from -1 to 1."""
    y, x = np.meshgrid(np.linspace(-1, 1, shape[0]), np.linspace(-1, 1, shape[1]), indexing="ij")
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], -1)


def _rim(shape: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    width = max(2, round(RIM * max(shape)))
    rim = np.ones(shape, bool)
    rim[width:-width, width:-width] = False
    return rim
