"""From where a capture's photos look at the object, and where photos are missing."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from pipeline.check.directions import (
    Gap,
    azimuth_deg,
    covered_share,
    direction,
    elevation_deg,
    nearest_deg,
    widest_gap,
)
from pipeline.scene import Capture

REACH_DEG = 25.0  # how far from a camera's direction it still shows the surface well; SIFT matches up to 30 or so
MISSING_DEG = 28.0  # from all photos: rings lie a reach apart, and one that is full must not ask for the next
STEP_DEG = 15.0  # between neighbouring photos that are asked for
RINGS_DEG = (10.0, 35.0, 60.0, 85.0)  # the elevations at which rings of photos are asked for
LOW_SHARE = 0.05  # of the photos that may have been taken lower than can be expected of more
ALL_SIDES_DEG = -60.0  # photos from below this: the object hangs, or was turned over, and all sides can be seen
STEEP_DEG = 75.0  # a ring above this is a place
AZIMUTHS = 72  # places on a ring that are looked at


@dataclass(frozen=True, eq=False, kw_only=True)
class Coverage:
    """From where the photos look.

    Attributes:
        names: Of the posed photos.
        directions: Unit vectors from the middle of what they look at to their cameras; +Y is up, +Z the front.
        lowest_deg: The lowest elevation from which photos are expected: level for an object on a support, lower where
            photos were taken from below, -90 where these look from all sides.
        share: Share of the directions above it that lie within `REACH_DEG` of a photo's.
        gap: The widest gap above it.
    """

    names: tuple[str, ...]
    directions: Float[np.ndarray, "photos 3"]
    lowest_deg: float
    share: float
    gap: Gap

    def nearest(self, wanted: Float[np.ndarray, "3"]) -> str:
        """The photo that looks most nearly from a direction."""
        return self.names[int((self.directions @ wanted).argmax())]


@dataclass(frozen=True, kw_only=True)
class Sector:
    """A part of a ring around the object where photos are missing.

    Attributes:
        elevation_deg: Of the ring.
        start_deg: Azimuth of its left end for somebody who looks at the object: where the last photo is.
        width_deg: Its extent to the right, to the next photo; 360 for a whole ring.
        photos: How many photos fill it.
    """

    elevation_deg: float
    start_deg: float
    width_deg: float
    photos: int

    def directions(self) -> Float[np.ndarray, "photos 3"]:
        """Where its photos would be: spread evenly, between the photos beside it."""
        whole = self.width_deg >= 360
        shares = [(k + (not whole)) / (self.photos + (not whole)) for k in range(self.photos)]
        return np.stack([direction(self.start_deg + self.width_deg * s, self.elevation_deg) for s in shares])


def measure_coverage(capture: Capture) -> Coverage:
    """Measure from where the photos of a settled capture look at its middle, the world's origin."""
    centers = np.stack([v.camera.camera_center.numpy() for v in capture.views])
    directions = centers / np.linalg.norm(centers, axis=1, keepdims=True)
    lowest = min(0.0, float(np.quantile(elevation_deg(directions), LOW_SHARE)))
    lowest = -90.0 if lowest < ALL_SIDES_DEG else lowest
    return Coverage(
        names=tuple(v.name for v in capture.views),
        directions=directions,
        lowest_deg=lowest,
        share=covered_share(directions, lowest_deg=lowest, reach_deg=REACH_DEG),
        gap=widest_gap(directions, lowest_deg=lowest),
    )


def missing_sectors(coverage: Coverage) -> list[Sector]:
    """Where photos are missing: stretches of rings further than `MISSING_DEG` from all photos.

    The longest comes first, and each next one is what is still missing when those before it were filled.
    """
    rings = [r for ring in RINGS_DEG for r in (ring, -ring) if r >= coverage.lowest_deg]
    cameras, sectors = coverage.directions, list[Sector]()
    while found := [sector for ring in rings for sector in _ring_sectors(cameras, ring)]:
        longest = max(found, key=lambda s: s.photos)
        sectors.append(longest)
        cameras = np.concatenate([cameras, longest.directions()])
    return sectors


def _ring_sectors(cameras: Float[np.ndarray, "cameras 3"], ring_deg: float) -> list[Sector]:
    step = 360 / AZIMUTHS
    places = np.stack([direction(step * k, ring_deg) for k in range(AZIMUTHS)])
    empty = nearest_deg(places, cameras) > MISSING_DEG
    if empty.all() or (abs(ring_deg) > STEEP_DEG and empty.any()):
        return [Sector(elevation_deg=ring_deg, start_deg=0.0, width_deg=360.0, photos=_count(360.0, ring_deg))]
    reach = MISSING_DEG / math.cos(math.radians(ring_deg))  # about as far are the photos beside an empty stretch
    sectors = []
    for start in np.flatnonzero(empty & ~np.roll(empty, 1)):
        length = int(np.argmin(np.roll(empty, -int(start))))  # up to the first place that is not empty
        width = min(360.0, step * length + 2 * reach)  # its ends lie half a step outside
        sectors.append(
            Sector(
                elevation_deg=ring_deg,
                start_deg=step * (float(start) - 0.5) - reach,
                width_deg=width,
                photos=_count(width, ring_deg),
            )
        )
    return sectors


def _count(width_deg: float, elevation: float) -> int:
    """Photos `STEP_DEG` apart that a whole ring needs, or that go between the two photos beside a stretch."""
    steps = math.ceil(width_deg * math.cos(math.radians(elevation)) / STEP_DEG - 1e-6)
    return max(1, steps if width_deg >= 360 else steps - 1)


def places(coverage: Coverage) -> list[dict[str, float | str]]:
    """Name, azimuth and elevation of each photo, rounded to a tenth of a degree."""
    azimuths, elevations = azimuth_deg(coverage.directions), elevation_deg(coverage.directions)
    return [
        {"name": n, "azimuth_deg": round(float(a), 1), "elevation_deg": round(float(e), 1)}
        for n, a, e in zip(coverage.names, azimuths, elevations, strict=True)
    ]
