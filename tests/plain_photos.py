"""Photos of two balls before a plain backdrop, with soft shadows where they stand, and the truth."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pipeline.color import srgb_from_linear
from pipeline.scene import Camera, Capture, View
from tests.shapes import camera_at, pixel_rays
from tests.stage_context import posed

WIDTH_PX, FOCAL_PX = 200, 240.0
FLOOR = -0.6
LIGHT = np.array([0.4, 0.8, 0.3]) / np.linalg.norm([0.4, 0.8, 0.3])
BALLS = (
    (np.array([0.0, -0.1, 0.0]), 0.5, (0.6, 0.15, 0.08)),
    (np.array([0.45, -0.35, 0.35]), 0.25, (0.35, 0.35, 0.35)),
)
WHITE, BLACK, GREEN = (0.85, 0.85, 0.83), (0.012, 0.012, 0.013), (0.06, 0.5, 0.1)


def cameras(count: int) -> list[Camera]:
    """Two rings around the balls."""
    turns = np.arange(count) * 2 * np.pi / count
    heights = np.where(np.arange(count) % 2, 2.2, 0.9)
    places = np.stack([3.2 * np.sin(turns), heights, 3.2 * np.cos(turns)], 1)
    return [camera_at(p.tolist(), size_px=WIDTH_PX, focal_px=FOCAL_PX, target=(0.1, -0.2, 0.1)) for p in places]


def photograph(camera: Camera, backdrop: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """The photo (8-bit sRGB) and the objects' coverage, from 9 samples a pixel."""
    ray, center = pixel_rays(camera, samples=3).numpy(), camera.camera_center.numpy()
    nearest, color = np.full(ray.shape[:-1], np.inf), np.zeros(ray.shape)
    for middle, radius, paint in BALLS:
        along = ray @ (center - middle)
        root = along**2 - (center - middle) @ (center - middle) + radius**2
        distance = np.where(root > 0, -along - np.sqrt(root.clip(0)), np.inf)
        normal = (center + distance.clip(0, 99)[..., None] * ray - middle) / radius
        pattern = 1 + 0.3 * np.sin(14 * normal[..., :1]) * np.sin(11 * normal[..., 1:2]) * (paint[0] > paint[1])
        shaded = np.array(paint) * pattern * (0.35 + 0.65 * (normal @ LIGHT).clip(0))[..., None] + 0.03
        color = np.where((distance < nearest)[..., None], shaded, color)
        nearest = np.minimum(nearest, distance)
    covered = np.isfinite(nearest)
    linear = np.where(covered[..., None], color, np.array(backdrop) * shade(ray, center)[..., None]).mean(2)
    noise = np.random.default_rng(0).normal(0, 0.006, linear.shape)
    image = srgb_from_linear(torch.from_numpy(linear)).numpy() + noise
    return (image.clip(0, 1) * 255).round().astype(np.uint8), covered.mean(2)


def shade(ray: np.ndarray, center: np.ndarray) -> np.ndarray:
    """Light on the sweep: a soft cast shadow and a dark one at the contact, fading with distance."""
    down = ray[..., 1] < -0.02
    place = center + ((FLOOR - center[1]) / np.where(down, ray[..., 1], -1))[..., None] * ray
    light = np.ones(down.shape)
    for middle, radius, _ in BALLS:
        foot = middle - LIGHT * ((middle[1] - FLOOR) / LIGHT[1])
        cast = np.hypot(place[..., 0] - foot[0], place[..., 2] - foot[2])
        contact = np.hypot(place[..., 0] - middle[0], place[..., 2] - middle[2])
        light *= 1 - 0.45 / (1 + np.exp((cast - radius).clip(-4, 4) / 0.08))
        light *= 1 - 0.6 * np.exp(-((contact / (0.6 * radius)) ** 2))
    return np.where(down, light, 1.0)


def write_photos(folder: Path, count: int, backdrop: tuple[float, float, float]) -> tuple[Capture, list[np.ndarray]]:
    """A settled capture without masks, and the true coverages."""
    folder.mkdir(parents=True)
    views, truth = [], []
    for index, camera in enumerate(cameras(count)):
        image, coverage = photograph(camera, backdrop)
        path = folder / f"{index:02d}.png"
        Image.fromarray(image).save(path)
        truth.append(coverage)
        views.append(
            View(
                name=path.name,
                image_path=path,
                mask_path=None,
                camera=camera,
                exposure=torch.ones(3),
                light_from_world=torch.eye(4, dtype=torch.float64),
            )
        )
    box = torch.tensor([[-1.0] * 3, [1.0] * 3], dtype=torch.float64)
    return replace(posed(views), object_box=box), truth


def with_masks(capture: Capture, masks: list[np.ndarray], folder: Path) -> Capture:
    """The capture with masks that came along: coverage in [0, 1], one per view."""
    folder.mkdir(parents=True)
    views = []
    for view, mask in zip(capture.views, masks, strict=True):
        path = folder / f"{view.image_path.stem}.png"
        Image.fromarray(np.rint(mask * 255).astype(np.uint8)).save(path)
        views.append(replace(view, mask_path=path))
    return replace(capture, views=tuple(views))
