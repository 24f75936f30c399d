"""Plain backdrops: photos whose rim has one colour, or one that changes smoothly."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float

from pipeline.scene import Camera
from pipeline.stages.masks_views import WorkView, in_parallel

RIM = 0.03  # width of the rim as a share of the photo's longer side
EVEN = 4.0  # L*a*b* units: a rim that scatters more than this around a smooth function is not plain
PLAIN = 0.85  # share of the rim that must follow it, as the object may reach over the frame
MOST = 0.8  # share of the photos that must be plain
NOISE = 2.0  # scatter, at least: JPEG's blocks and soft shadows
SAMPLES = 4000


@dataclass(frozen=True, eq=False, kw_only=True)
class Backdrop:
    """The colour of one photo's backdrop: a quadratic polynomial over the photo, and the scatter around it."""

    camera: Camera
    model: Float[np.ndarray, "6 3"]
    sigma: float

    def lab(self, view: WorkView) -> Float[np.ndarray, "height width 3"]:
        """Its colour, L*a*b*, at every pixel of the photo, or of a window of it."""
        return (_terms(view.camera, self.camera) @ self.model).astype(np.float32)

    def density(self, view: WorkView) -> Float[np.ndarray, "height width"]:
        """Probability per cubic unit of L*a*b* of each pixel's colour if it shows the backdrop.

        Args:
            view: The photo, or a window of it.
        """
        off = np.square(cv2.GaussianBlur(view.lab, (0, 0), 1.0) - self.lab(view)).sum(-1)
        return (np.exp(-0.5 * off / self.sigma**2) / (self.sigma * np.sqrt(2 * np.pi)) ** 3).astype(np.float32)


def find_backdrops(views: list[WorkView], threads: int) -> list[Backdrop | None]:
    """What each photo's object stands before; none for a photo with a busy rim, and for all when most have one."""
    found = in_parallel(_find, views, threads)
    plain = sum(backdrop is not None for backdrop in found)
    return found if plain >= MOST * len(views) else [None] * len(views)


def _find(view: WorkView) -> Backdrop | None:
    """Fit the rim of a whole photo."""
    lab = cv2.GaussianBlur(view.lab, (0, 0), 1.0)
    rim = _rim(view.shape)
    chosen, colors = _terms(view.camera, view.camera)[rim], lab[rim]
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
    # the model was fitted at the rim and is used inside of it
    return Backdrop(camera=view.camera, model=model, sigma=max(NOISE, 2 * scatter))


def _terms(camera: Camera, whole: Camera) -> Float[np.ndarray, "height width 6"]:
    """Quadratic polynomials in x and y, which run from -1 to 1 over the `whole` photo, at the pixels of `camera`."""
    to_whole = whole.K.numpy() @ np.linalg.inv(camera.K.numpy())
    x = (np.arange(camera.width) + 0.5) * to_whole[0, 0] + to_whole[0, 2]
    y = (np.arange(camera.height) + 0.5) * to_whole[1, 1] + to_whole[1, 2]
    x, y = np.meshgrid(2 * x / whole.width - 1, 2 * y / whole.height - 1)
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], -1)


def _rim(shape: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    width = max(2, round(RIM * max(shape)))
    rim = np.ones(shape, bool)
    rim[width:-width, width:-width] = False
    return rim
