"""Painted and bare surfaces: colour, roughness and metalness of a chart, from noise in space."""

import numpy as np
from scipy.ndimage import map_coordinates

from sample_scene.prints import AMBER, CREAM, INK, RED, Color, tin_print
from sample_scene.surfaces import Array, Part, Point

COPPER, TARNISH, STEEL, SMOKE = (236, 168, 138), (150, 88, 62), (196, 195, 192), (126, 122, 118)
BRASS, PATINA, CORK, CORK_DARK = (228, 190, 112), (150, 112, 60), (190, 142, 92), (104, 68, 40)

LATTICE = np.random.default_rng(7).random((32, 32, 32))


def noise(points: Array, size: float | Point, octaves: int = 1) -> Array:
    """Value noise in [0, 1] with cells of `size` metres; every octave halves size and weight."""
    total, weight = np.zeros(points.shape[:-1]), 0.0
    for k in range(octaves):
        cells = points / np.asarray(size) * 2.0**k + 11.3 * k
        total += 0.5**k * map_coordinates(LATTICE, np.moveaxis(cells % 32.0, -1, 0), order=1, mode="grid-wrap")
        weight += 0.5**k
    return total / weight


def ramp(value: Array, low: float, high: float) -> Array:
    """Smooth step from 0 at `low` to 1 at `high`."""
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def mix(a: Array | Color, b: Array | Color, share: Array) -> Array:
    """Blend two colours, or a picture and a colour."""
    return np.asarray(a) * (1.0 - share[..., None]) + np.asarray(b) * share[..., None]


def texels(color: Array, roughness: Array | float, metallic: Array | float) -> Array:
    """Stack a painted chart: sRGB colour (0..255), roughness, metallic."""
    shape = color.shape[:2]
    extra = [np.broadcast_to(np.asarray(channel, dtype=float), shape)[..., None] for channel in (roughness, metallic)]
    return np.concatenate([color, *extra], axis=-1)


def paint_cork(_part: Part, points: Array, _st: Array) -> Array:
    """Rough cork: granules, dark pores."""
    grain = noise(points, 0.0030, 3)
    color = mix(CORK, (222, 182, 130), ramp(noise(points + 3.0, 0.0045, 2), 0.5, 0.75))
    color = mix(color, CORK_DARK, 0.85 * ramp(grain, 0.56, 0.70))
    color = mix(color, (62, 40, 26), ramp(noise(points + 7.0, 0.0018, 2), 0.72, 0.80))
    return texels(color, 0.86 + 0.08 * (grain - 0.5), 0.0)


def metal(points: Array, colors: tuple[Color, Color], roughness: float) -> Array:
    """Bare metal that lost some of its shine in blotches, with fine streaks around the vertical."""
    streak = noise(np.stack([points[..., 1], points[..., 0] * 0.06, points[..., 2] * 0.06], axis=-1), 0.0007, 2)
    worn = ramp(noise(points, 0.0095, 4), 0.50, 0.66)
    speck = ramp(noise(points + 5.0, 0.0022, 2), 0.70, 0.80)
    color = mix(np.asarray(colors[0]) * (0.90 + 0.16 * streak[..., None]), colors[1], 0.60 * np.maximum(worn, speck))
    return texels(color, roughness + 0.10 * (streak - 0.5) + 0.16 * np.maximum(worn, speck), 1.0)


def paint_copper(_part: Part, points: Array, _st: Array) -> Array:
    """Bare copper."""
    return metal(points, (COPPER, TARNISH), 0.27)


def paint_steel(_part: Part, points: Array, _st: Array) -> Array:
    """Bare steel."""
    return metal(points, (STEEL, SMOKE), 0.30)


def paint_brass(_part: Part, points: Array, _st: Array) -> Array:
    """Bare brass."""
    return metal(points, (BRASS, PATINA), 0.30)


def varnish(color: Array, points: Array) -> Array:
    """Glossy paint over `colour`: faint clouds, dull scuffs, small chips."""
    cloud, scuff = noise(points, 0.012, 3), ramp(noise(points + 9.0, (0.004, 0.0012, 0.004), 3), 0.60, 0.72)
    color = mix(color * (0.94 + 0.12 * cloud[..., None]), (150, 148, 140), 0.22 * scuff)
    color = mix(color, (92, 84, 78), 0.8 * ramp(noise(points + 2.0, 0.0026, 3), 0.74, 0.78))
    return texels(np.clip(color, 0, 255), 0.33 + 0.06 * (cloud - 0.5) + 0.14 * scuff, 0.0)


def paint_red(_part: Part, points: Array, st: Array) -> Array:
    """Red paint with a cream ring."""
    return varnish(mix(np.broadcast_to(RED, points.shape), CREAM, (abs(st[..., 1] - 0.32) < 0.045) * 1.0), points)


def paint_ear(_part: Part, points: Array, st: Array) -> Array:
    """Rings of red, cream and ink around the ear's axis."""
    color = np.broadcast_to(RED, points.shape)
    for low, high, band in ((0.0, 0.12, AMBER), (0.12, 0.20, INK), (0.52, 0.60, CREAM)):
        color = mix(color, band, ((st[..., 1] >= low) & (st[..., 1] < high)) * 1.0)
    return varnish(color, points)


def paint_eye(_part: Part, points: Array, st: Array) -> Array:
    """A painted pupil in a steel rim."""
    color = mix(np.broadcast_to(CREAM, points.shape), AMBER, (st[..., 1] < 0.135) * 1.0)
    color = mix(color, INK, (st[..., 1] < 0.095) * 1.0)
    rim = ramp(st[..., 1], 0.165, 0.175)[..., None]
    return varnish(color, points) * (1.0 - rim) + metal(points, (STEEL, SMOKE), 0.28) * rim


def paint_head(part: Part, points: Array, st: Array) -> Array:
    """Copper with soldered seams, painted rivets, a red crown and a grille for a mouth."""
    angle, height = 2.0 * np.pi * (st[..., 0] - 0.5), points[..., 1]
    picture = paint_copper(part, points, st)
    seam = sum(np.exp(-(((height - y) / 0.0006) ** 2)) for y in (0.1145, 0.1465))
    picture[..., :3] = mix(picture[..., :3], TARNISH, np.clip(seam, 0, 1) * 0.9)
    picture[..., 3] += 0.15 * np.clip(seam, 0, 1)
    across, mouth = 0.0305 * angle, (abs(0.0305 * angle) < 0.0125) & (abs(height - 0.1195) < 0.0032)
    bars = mouth & (((across + 0.0125) % 0.0036) > 0.0010)
    rivets = (np.hypot((angle * 0.0305 + 0.004) % 0.008 - 0.004, height - 0.1112) < 0.0011) & (abs(angle) > 0.2)
    panel = (abs(angle) > 1.9) & (abs(abs(angle) - 2.55) > 0.08) & (abs(height - 0.130) < 0.0105)
    slots = panel & (((height - 0.118) % 0.0042) < 0.0017)
    crown = noise(points, 0.006, 2) * 0.0012 + height > 0.1535
    for mask, color in ((mouth, CREAM), (bars, INK), (slots, INK), (rivets, CREAM), (crown, RED)):
        picture = np.where(mask[..., None], varnish(np.broadcast_to(color, points.shape), points), picture)
    return picture


def paint_body(part: Part, points: Array, st: Array) -> Array:
    """Lithographed tin."""
    return varnish(tin_print(part, st.shape[:2]), points)
