"""What to shoot next, in words for a photographer: relative to photos that exist, not to our axes."""

from pathlib import Path

from pipeline.check.coverage import STEEP_DEG, Coverage, Sector, missing_sectors
from pipeline.check.directions import azimuth_deg, direction, elevation_deg

SENTENCES = 4  # as many as one can keep in mind
FEW_PHOTOS, GOOD_PHOTOS = 24, 40


def advise(coverage: Coverage, *, usable: int) -> list[str]:
    """Sentences, the most useful first; one that says so when nothing is missing."""
    sectors = missing_sectors(coverage)
    told = [_sector_words(s, coverage) for s in sectors[:SENTENCES]]
    if len(sectors) > SENTENCES:
        rest = sum(s.photos for s in sectors[SENTENCES:])
        told.append(f"then check again: smaller gaps are left, for about {rest} photos.")
    if not told and usable < FEW_PHOTOS:
        return [f"all sides are seen, but by {usable} photos: {GOOD_PHOTOS}, evenly spread, show finer detail."]
    return told or ["nothing: the photos look from all sides."]


def region_words(coverage: Coverage) -> str:
    """The directions from which photos are expected."""
    if coverage.lowest_deg <= -90:
        return "all directions"
    below = f"from {-coverage.lowest_deg:.0f} degrees below level upwards"
    return "the directions above level" if coverage.lowest_deg > -0.5 else f"the directions {below}"


def gap_words(coverage: Coverage) -> str:
    """Where the widest gap is, and how wide."""
    width, elevation = 2 * coverage.gap.radius_deg, float(elevation_deg(coverage.gap.direction))
    if elevation > STEEP_DEG:
        where = "straight above"
    elif elevation < -STEEP_DEG:
        where = "straight below"
    else:
        around = float(azimuth_deg(coverage.gap.direction))
        left, right = (
            stem(coverage.nearest(direction(around + side * coverage.gap.radius_deg, elevation))) for side in (-1, 1)
        )
        between = f"between {left} and {right}" if left != right else f"beside {left}"
        where = f"{between}, {_height_words(elevation)}"
    return f"{width:.0f} degrees across, {where} (the nearest photo is {coverage.gap.radius_deg:.0f} degrees away)"


def stem(name: str) -> str:
    """A photo's name as people say it: without folders and suffix."""
    return Path(name).stem


def _sector_words(sector: Sector, coverage: Coverage) -> str:
    count = f"{sector.photos} photo{'s' * (sector.photos > 1)}"
    height = _height_words(sector.elevation_deg)
    if abs(sector.elevation_deg) > STEEP_DEG:
        return f"{count} from nearly straight {'above' if sector.elevation_deg > 0 else 'below'}."
    if sector.width_deg >= 360:
        return f"a ring of {count} all around, {height}."
    left, right = (
        coverage.nearest(direction(a, sector.elevation_deg))
        for a in (sector.start_deg, sector.start_deg + sector.width_deg)
    )
    if left == right:
        side = "" if sector.width_deg < 180 else ", and on around the far side"
        return f"{count} beside {stem(left)}{side}, {height}."
    return f"{count} between {stem(left)} and {stem(right)}, walking to your right from the first, {height}."


def _height_words(elevation: float) -> str:
    rounded = 5 * round(elevation / 5)
    if abs(rounded) < 5:
        return "camera level with the object"
    return f"camera looking {'down' if rounded > 0 else 'up'} at it by {abs(rounded)} degrees"
