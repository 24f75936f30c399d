"""A tiny posed capture, made in a fraction of a second: a painted ball under a soft light, by ray casting."""

import json
import math
from pathlib import Path

import numpy as np
from PIL import Image

VIEWS, SIZE_PX, FOCAL_PX, DISTANCE = 10, 96, 130.0, 4.0

# Settings that run all stages on it in a few seconds.
SMALL = (
    "geometry.grid_resolution=33",
    "geometry.max_faces=2000",
    "geometry.outline_steps=20",
    "unwrap.pack_px=128",
    "unwrap.padding_px=2",
    "appearance.texture_px=128",
    "appearance.steps=60",
    "appearance.batch_px=2048",
    "appearance.vertex_steps=20",
    "appearance.light_map_px=32",
    "export.light_height_px=16",
    "export.preview_views=1",
)


def write_tiny_capture(folder: Path) -> Path:
    """Write `train/000.png ...` (RGBA) and `transforms_train.json`, +Z up; returns `folder`."""
    (folder / "train").mkdir(parents=True)
    frames = []
    for k in range(VIEWS):
        azimuth, height = 2 * math.pi * k / VIEWS, (0.25, 0.7)[k % 2]
        pose = _gl_pose(azimuth, height)
        Image.fromarray(_ball(pose)).save(folder / "train" / f"{k:03d}.png")
        frames.append({"file_path": f"./train/{k:03d}", "transform_matrix": pose.tolist()})
    angle = 2 * math.atan(SIZE_PX / 2 / FOCAL_PX)
    (folder / "transforms_train.json").write_text(json.dumps({"camera_angle_x": angle, "frames": frames}))
    return folder


def _gl_pose(azimuth: float, height: float) -> np.ndarray:
    """Camera to world with OpenGL axes, looking at the origin from a ring."""
    back = np.array([math.cos(azimuth) * math.cos(height), math.sin(azimuth) * math.cos(height), math.sin(height)])
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(back, right), back], 1)
    pose[:3, 3] = DISTANCE * back
    return pose


def _ball(pose: np.ndarray) -> np.ndarray:
    """The unit ball as RGBA: coloured octants, Lambert's law under one soft light."""
    pixel = (np.arange(SIZE_PX) + 0.5 - SIZE_PX / 2) / FOCAL_PX
    x, y = np.meshgrid(pixel, pixel)
    ray = np.stack([x, -y, -np.ones_like(x)], -1) @ pose[:3, :3].T
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    along = ray @ pose[:3, 3]
    root = along**2 - DISTANCE**2 + 1
    normal = pose[:3, 3] + (-along - np.sqrt(root.clip(0)))[..., None] * ray
    paint = 0.25 + 0.5 * (normal > 0)
    light = 0.4 + 0.6 * (0.5 + 0.5 * normal @ np.array([0.3, 0.5, 0.81]))[..., None]
    rgba = np.concatenate([(paint * light) ** (1 / 2.2), (root > 0)[..., None]], -1)
    return np.rint(rgba * (root > 0)[..., None] * 255).astype(np.uint8)
