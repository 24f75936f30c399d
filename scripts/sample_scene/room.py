"""The room around the table, painted on the walls of a box and seen from its middle."""

import cv2
import numpy as np
from numpy.typing import NDArray

from sample_scene.paint import CORK, STEEL, mix, noise, ramp
from sample_scene.prints import AMBER, CREAM, NAVY, PALE, RED, TEAL
from sample_scene.surfaces import Array, unit

Mask = NDArray[np.bool_]

EXPOSURE = 1.0  # brings white paper near 0.75
FAR_CORNER, NEAR_CORNER = (2.6, 1.9, 2.2), (2.4, 0.78, 2.8)  # the walls' distances towards +X +Y +Z and -X -Y -Z
LAMP, LAMP_RADIUS = (0.62, 0.60, 0.66), 0.145  # direction, angular radius


def room(height: int) -> Array:
    """Radiance of the room as an equirect (H, 2H, 3): u = 1/2 + atan2(z, x)/2pi, v = acos(y)/pi, row 0 up."""
    ray = equirect_rays(height)
    distance = np.where(ray > 0, FAR_CORNER, NEAR_CORNER) / np.maximum(abs(ray), 1e-9)
    face = np.argmin(distance, axis=-1)  # the axis of the wall that is hit first
    hit = ray * distance.min(axis=-1, keepdims=True)
    radiance = plain_walls(hit, face)
    paint_shelf(radiance, hit, (face == 2) & (hit[..., 2] < 0))
    paint_curtain(radiance, hit, (face == 2) & (hit[..., 2] > 0))
    paint_window(radiance, hit, (face == 0) & (hit[..., 0] < 0))
    paint_pictures(radiance, hit, (face == 0) & (hit[..., 0] > 0))
    away = np.arccos(np.clip(ray @ unit(np.array(LAMP)), -1.0, 1.0))
    shade = 1.0 - ramp(away, 0.9 * LAMP_RADIUS, 1.1 * LAMP_RADIUS)
    radiance += np.array((30.0, 19.0, 10.0)) * shade[..., None]
    out_of_focus = cv2.GaussianBlur(np.hstack([radiance] * 3), (0, 0), height / 220.0)
    return EXPOSURE * out_of_focus[:, 2 * height : 4 * height]


def equirect_rays(height: int) -> Array:
    """Unit directions at the centres of an equirect's texels."""
    v, u = (np.mgrid[0:height, 0 : 2 * height] + 0.5) / height
    azimuth, polar = np.pi * (u - 1.0), np.pi * v
    across = np.sin(polar)
    return np.stack([across * np.cos(azimuth), np.cos(polar), across * np.sin(azimuth)], axis=-1)


def plain_walls(hit: Array, face: NDArray[np.int64]) -> Array:
    """Blotchy plaster, a pale ceiling, a floor of boards."""
    blot = noise(hit, 0.35, 4)[..., None]
    plaster = np.array((0.42, 0.39, 0.35)) * (0.8 + 0.4 * blot) * (0.75 + 0.25 * ramp(hit[..., 1:2], -0.8, 1.9))
    ceiling = np.array((0.60, 0.60, 0.62)) * (0.85 + 0.3 * blot)
    boards = 0.13 + np.floor(hit[..., 2:] / 0.16) % 2 * 0.04 + 0.08 * noise(hit, (0.9, 1.0, 0.06), 2)[..., None]
    level = np.where(hit[..., 1:2] > 0, ceiling, np.array((1.0, 0.66, 0.40)) * boards)
    return np.where((face == 1)[..., None], level, plaster)


def paint_window(radiance: Array, hit: Array, wall: Mask) -> None:
    """A window of three by two panes onto a bright sky, where `wall` holds."""
    y, z = hit[..., 1], hit[..., 2] + 0.1
    frame = wall & (abs(z) < 0.95) & (abs(y - 0.95) < 0.72)
    pane = frame & ((z + 0.95) % 0.63 > 0.05) & ((z + 0.95) % 0.63 < 0.58) & (abs(y - 0.95) > 0.04)
    radiance[frame] = 0.5
    radiance[pane] = np.array((8.2, 9.3, 10.6)) * (0.75 + 0.35 * ramp(y, 0.2, 1.7))[pane][:, None]


def paint_curtain(radiance: Array, hit: Array, wall: Mask) -> None:
    """A red curtain in folds."""
    x, y = hit[..., 0], hit[..., 1]
    cloth = wall & (abs(x + 0.3) < 1.1) & (y < 1.6)
    fold = 0.30 + 0.22 * np.cos(2.0 * np.pi * x / 0.17) * np.cos(3.1 * x + 1.0)
    radiance[cloth] = fold[cloth][:, None] * np.array((0.75, 0.30, 0.22))


def paint_pictures(radiance: Array, hit: Array, wall: Mask) -> None:
    """Framed clouds in a row."""
    up, along = abs(hit[..., 1] - 0.35), abs(hit[..., 2] % 0.9 - 0.45)
    radiance[wall & (up < 0.52) & (along < 0.34)] = (0.05, 0.04, 0.03)
    art = wall & (up < 0.46) & (along < 0.28)
    cloud = ramp(noise(hit[art], (0.3, 0.16, 0.3), 3), 0.35, 0.62)
    radiance[art] = mix((0.06, 0.13, 0.16), (0.62, 0.50, 0.34), cloud)


def paint_shelf(radiance: Array, hit: Array, wall: Mask) -> None:
    """Four boards of books."""
    rng = np.random.default_rng(31)
    x, y = hit[..., 0], hit[..., 1]
    case = wall & (abs(x) < 1.6)
    radiance[case & (y < 1.45)] = (0.06, 0.045, 0.03)
    for base in np.arange(4) * 0.5 - 0.6:
        left = -1.55
        while left < 1.5:
            width, tall = rng.uniform(0.04, 0.11), rng.uniform(0.26, 0.42)
            spine = np.asarray((TEAL, CREAM, RED, AMBER, NAVY, CORK, PALE, STEEL)[int(rng.integers(8))]) / 255.0
            book = case & (x > left) & (x < left + 0.92 * width) & (y > base) & (y < base + tall)
            if rng.random() < 0.85:
                radiance[book] = spine**2.2 * rng.uniform(0.25, 0.6)
            left += width
        radiance[case & (abs(y - base + 0.03) < 0.03)] = (0.22, 0.14, 0.08)
