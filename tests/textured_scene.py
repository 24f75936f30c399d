"""Photos of a box on a plane, painted with noise, by ray casting: enough for structure from motion."""

import math

import numpy as np
from scipy import ndimage

WIDTH, HEIGHT, FOCAL_PX = 400, 300, 420.0
BOX = np.array([[-0.5, 0.0, -0.5], [0.5, 0.8, 0.5]])


def _paint() -> np.ndarray:
    """Noise of two grains: a grey sheet in [0, 1] for each side of the box, and one for the plane."""
    noise = np.random.default_rng(7).standard_normal((6, 512, 512))
    sheets = sum(grain * ndimage.gaussian_filter(noise, (0, grain, grain)) for grain in (1.5, 6))
    return (0.5 + sheets / (5 * sheets.std())).clip(0, 1)


def photos(count: int, *, arc: float = 2 * math.pi) -> tuple[list[np.ndarray], np.ndarray]:
    """Pictures (8 bit) from `count` places around the box, and the places (count, 3)."""
    sheets = _paint()
    pictures, centers = [], []
    for k in range(count):
        angle = arc * k / count
        center = np.array([2.2 * math.cos(angle), 1.3 + 0.2 * (k % 2), 2.2 * math.sin(angle)])
        pictures.append(_photo(center, sheets))
        centers.append(center)
    return pictures, np.array(centers)


def _photo(center: np.ndarray, sheets: np.ndarray) -> np.ndarray:
    forward = np.array([0, 0.3, 0]) - center
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0, 1, 0])
    right /= np.linalg.norm(right)
    x, y = np.meshgrid(
        (np.arange(WIDTH) + 0.5 - WIDTH / 2) / FOCAL_PX, (np.arange(HEIGHT) + 0.5 - HEIGHT / 2) / FOCAL_PX
    )
    ray = x[..., None] * right + y[..., None] * np.cross(forward, right) + forward
    with np.errstate(divide="ignore"):
        crossing = (BOX[:, None, None] - center) / ray
    near, axis = crossing.min(0).max(-1), crossing.min(0).argmax(-1)
    hits_box = near < crossing.max(0).min(-1)
    place = center + np.where(hits_box, near, -center[1] / ray[..., 1].clip(max=-1e-6))[..., None] * ray
    seen_side = np.where(np.take_along_axis(ray, axis[..., None], 2)[..., 0] < 0, axis + 3, axis)
    sheet = np.where(hits_box, seen_side, 1)  # nobody sees the box from below: its sheet paints the plane
    u = np.where((axis == 0) & hits_box, place[..., 2], place[..., 0])
    v = np.where((axis == 1) | ~hits_box, place[..., 2], place[..., 1])
    grey = np.zeros((HEIGHT, WIDTH))
    for k in range(6):
        at = [c[sheet == k] * 100 + 256 for c in (v, u)]
        grey[sheet == k] = ndimage.map_coordinates(sheets[k], at, order=1, cval=0.5)
    return np.rint(grey[..., None] * [255, 230, 200]).astype(np.uint8)
