#!/usr/bin/env python
"""Compare estimators of the gradient of coverage with the truth: how far off is each, and in which direction?

    python scripts/compare_gradients.py

A shape is drawn at 96 x 96 pixels, its coverage is weighed by a smooth image and summed, and that number is
differentiated with respect to moving the shape by x and y, turning and scaling it: four numbers, of which only the
silhouette decides. The truth is central differences of a mask with 16 x 16 samples per pixel (for the flat shapes they
were seen to equal the integral along the outline to 0.2 %). Per shape and estimator the table shows

    error   |estimate - truth| / |truth|: bias, since nothing here is random; 0 is exact, 1 is no better than zero
    cosine  between the two: what is left of the error once an optimiser has found the step size

`search` is how many faces `antialias` walks to a silhouette (nvdiffrast: 0). `soft` sees every triangle on its own: a
seam of a mesh counts as partly covered, so a finer mesh or another sigma changes what it says, most for a single layer.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from scipy.spatial import ConvexHull
from torch import Tensor

from pipeline.raster.cpu import CpuRasterizer
from pipeline.raster.soft import Softness

SIZE, SAMPLES = 96, 16
STEP = 0.02  # of the central differences: a pixel
RASTERIZER = CpuRasterizer()
Shape = tuple[Tensor, Tensor]  # points in [-1, 1], and faces


def polygon(corners: int, radius: float, turn: float) -> Shape:
    """A flat regular polygon as a fan around its centre."""
    angle = torch.arange(corners, dtype=torch.float64) * (2 * math.pi / corners) + turn
    outline = radius * torch.stack([angle.cos(), angle.sin(), torch.zeros_like(angle)], 1)
    here = torch.arange(corners)
    faces = torch.stack([torch.full_like(here, corners), here, (here + 1) % corners], 1)
    return torch.cat([outline, torch.zeros(1, 3)]), faces


def sphere(faces: int) -> Shape:
    """Points along Fibonacci's spiral on a sphere, and their convex hull."""
    k = torch.arange(faces // 2 + 2, dtype=torch.float64)
    z, turn = 1 - (2 * k + 1) / len(k), k * (math.pi * (3 - math.sqrt(5)))
    points = 0.8 * torch.stack([(1 - z * z).sqrt() * turn.cos(), (1 - z * z).sqrt() * turn.sin(), z], 1)
    return points, torch.from_numpy(ConvexHull(points.numpy()).simplices).long()


def placed(points: Tensor, motion: Tensor) -> Tensor:
    """Clip positions (1, V, 4) after a motion (x, y, turn, scale); stretched, so that turning a sphere shows."""
    x, y, turn, scale = motion
    rotation = torch.stack([torch.stack([turn.cos(), -turn.sin()]), torch.stack([turn.sin(), turn.cos()])])
    across = (points[:, :2] * torch.tensor([1.0, 0.7])) @ rotation.mT * (1 + scale) + torch.stack([x, y])
    depth = points[:, 2] * (1 + scale) + 4
    return torch.cat([across * 4, ((8 * depth - 24) / 4)[:, None], depth[:, None]], 1)[None]


def weights() -> Tensor:
    """The smooth image."""
    x = (torch.arange(SIZE, dtype=torch.float64) + 0.5) / SIZE
    return torch.sin(5 * x[None] + 1) + torch.cos(4 * x[:, None] - 2 * x[None]) + 2 * x[:, None]


def antialiased(clip: Tensor, faces: Tensor, *, search: int) -> Tensor:
    """Coverage by blending along silhouettes."""
    raster = RASTERIZER.rasterize(clip, faces, size_px=(SIZE, SIZE))
    mask = raster.mask[..., None].to(clip.dtype)
    return RASTERIZER.antialias(mask, raster, clip, faces, search=search)[0, ..., 0]


def softened(clip: Tensor, faces: Tensor, *, sigma_px: float) -> Tensor:
    """Coverage by the soft mode."""
    none, softness = clip.new_empty(clip.shape[1], 0), Softness(sigma_px=sigma_px)
    return RASTERIZER.soft(none, clip, faces, size_px=(SIZE, SIZE), softness=softness)[1][0]


ESTIMATORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "antialias, search 32": partial(antialiased, search=32),
    "antialias, search 0": partial(antialiased, search=0),
    **{f"soft, sigma {sigma} px": partial(softened, sigma_px=sigma) for sigma in (0.3, 0.7, 1.5)},
}
SHAPES = {"disc": partial(polygon, 256, 0.8, 0.0), "square": partial(polygon, 4, 0.9, 0.3)}
SHAPES |= {"sphere 2k": partial(sphere, 2000), "sphere 20k": partial(sphere, 20_000)}


def truth(points: Tensor, faces: Tensor) -> Tensor:
    """The derivative by x, y, turn and scale."""

    def weighed(motion: Tensor) -> Tensor:
        fine = RASTERIZER.rasterize(placed(points, motion), faces, size_px=(SIZE * SAMPLES, SIZE * SAMPLES)).mask[0]
        return (fine.double().reshape(SIZE, SAMPLES, SIZE, SAMPLES).mean((1, 3)) * weights()).sum()

    halves = torch.eye(4, dtype=torch.float64) * (STEP / 2)
    return torch.stack([(weighed(half) - weighed(-half)) / STEP for half in halves])


def compare(shape: Shape, estimators: list[str]) -> dict[str, tuple[float, float]]:
    """Error and cosine of each estimator's derivative of a render."""
    expected, found = truth(*shape), {}
    for name in estimators:
        motion = torch.zeros(4, dtype=torch.float64, requires_grad=True)
        (ESTIMATORS[name](placed(shape[0], motion), shape[1]) * weights()).sum().backward()
        error = float((motion.grad - expected).norm() / expected.norm())
        found[name] = error, float(torch.cosine_similarity(motion.grad, expected, dim=0))
    return found


def main() -> None:
    """Print the table."""
    print(f"{'shape':<12}{'estimator':<24}{'error':>8}{'cosine':>10}")
    for name, make in SHAPES.items():
        for label, (error, cosine) in compare(make(), list(ESTIMATORS)).items():
            print(f"{name:<12}{label:<24}{error:8.3f}{cosine:10.4f}")


if __name__ == "__main__":
    main()
