"""Directions from the object to the cameras, and what they leave out.

Azimuth is 0 at the front (+Z) and grows to the right of somebody who stands there and looks at the object; elevation
is 0 at level and 90 degrees straight above.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

LATTICE = 8000  # directions over the sphere: 2.3 degrees apart
RIM = 720  # directions along the lowest elevation: a lattice has none exactly there
ROUNDS, SAMPLES = 12, 96  # of the refinement, which halves its reach each time


@dataclass(frozen=True, eq=False, kw_only=True)
class Gap:
    """The largest cap without a camera: its middle, and the angle from there to the nearest camera in degrees."""

    direction: Float[np.ndarray, "3"]
    radius_deg: float


def direction(azimuth_deg: int | float, elevation_deg: int | float) -> Float[np.ndarray, "3"]:
    """The unit vector of an azimuth and an elevation."""
    azimuth, elevation = math.radians(azimuth_deg), math.radians(elevation_deg)
    level = math.cos(elevation)
    return np.array([level * math.sin(azimuth), math.sin(elevation), level * math.cos(azimuth)])


def azimuth_deg(directions: Float[np.ndarray, "*shape 3"]) -> Float[np.ndarray, "*shape"]:
    """Azimuths in [0, 360)."""
    return np.asarray(np.degrees(np.arctan2(directions[..., 0], directions[..., 2])) % 360)


def elevation_deg(directions: Float[np.ndarray, "*shape 3"]) -> Float[np.ndarray, "*shape"]:
    """Elevations in [-90, 90] of unit vectors."""
    return np.asarray(np.degrees(np.arcsin(np.clip(directions[..., 1], -1, 1))))


def nearest_deg(
    directions: Float[np.ndarray, "directions 3"], cameras: Float[np.ndarray, "cameras 3"]
) -> Float[np.ndarray, "directions"]:
    """The angle from each direction to the nearest camera's."""
    return np.degrees(np.arccos(np.clip(directions @ cameras.T, -1, 1).max(1)))


def all_directions(lowest_deg: int | float) -> Float[np.ndarray, "directions 3"]:
    """Directions spread evenly (a Fibonacci lattice) over all elevations from `lowest_deg`, its rim and the top."""
    index = np.arange(LATTICE) + 0.5
    y = 1 - 2 * index / LATTICE
    turn = index * math.pi * (3 - math.sqrt(5))
    level = np.sqrt(1 - y * y)
    lattice = np.stack([level * np.sin(turn), y, level * np.cos(turn)], 1)
    rim = np.stack([direction(360 * k / RIM, lowest_deg) for k in range(RIM)])
    return np.concatenate([lattice[elevation_deg(lattice) >= lowest_deg], rim, [[0.0, 1.0, 0.0]]])


def widest_gap(cameras: Float[np.ndarray, "cameras 3"], *, lowest_deg: int | float) -> Gap:
    """The largest cap that no camera looks from, its middle at `lowest_deg` or above.

    The emptiest direction of a lattice, refined around it at random to a thousandth of a degree or so.
    """
    candidates = all_directions(lowest_deg)
    distances = nearest_deg(candidates, cameras)
    best, radius = candidates[distances.argmax()], float(distances.max())
    generator = np.random.default_rng(0)
    reach = 0.04  # radians: the lattice's spacing
    for _ in range(ROUNDS):
        around = best + reach * generator.uniform(-1, 1, (SAMPLES, 3))
        around = _not_below(around / np.linalg.norm(around, axis=1, keepdims=True), lowest_deg)
        distances = nearest_deg(around, cameras)
        if distances.max() > radius:
            best, radius = around[distances.argmax()], float(distances.max())
        reach /= 2
    return Gap(direction=best, radius_deg=radius)


def covered_share(cameras: Float[np.ndarray, "cameras 3"], *, lowest_deg: int | float, reach_deg: int | float) -> float:
    """The share of the sphere above `lowest_deg` that lies within `reach_deg` of a camera."""
    lattice = all_directions(lowest_deg)[: -RIM - 1]
    return float((nearest_deg(lattice, cameras) <= reach_deg).mean())


def _not_below(
    directions: Float[np.ndarray, "directions 3"], lowest_deg: int | float
) -> Float[np.ndarray, "directions 3"]:
    """Raise what is below the lowest elevation to it."""
    lifted = [direction(float(a), lowest_deg) for a in azimuth_deg(directions)]
    low = elevation_deg(directions) < lowest_deg
    return np.where(low[:, None], lifted, directions)
