"""Why photos found no pose, in words a photographer can act on."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

Pair = tuple[str, str]

NAMES_SHOWN = 4
STILL_PX = 2.0  # a match that moves less than this between two photos stood still
STILL_SHARE = 0.8  # of the matches: the camera saw a background that did not move
FEW_FEATURES = 50  # a photo with fewer shows hardly any detail
OUTLIER_FEW_POINTS = 12  # fewer hardly fix a pose
OUTLIER_FACTOR = 3.0  # times the usual median error
OUTLIER_LEAST_PX = 1.5  # and above this
OVERLAP_REMEDY = "photograph with 70 % overlap, and put printed paper under a plain object"
BRIDGE_REMEDY = "add photos that show both groups' sides, turning or raising the camera by 15 degrees at a time"
MARKER_REMEDY = "stick markers on or around it, or put printed paper under it that moves along with it"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the matches say about a capture.

    Attributes:
        names: All photos, by the user's names.
        inliers: Verified matches of each pair that has some.
        features: Features of each photo.
        still_share: Share of the verified matches that lie at one place in both photos.
        models: Photos of each model that was found, largest first.
    """

    names: tuple[str, ...]
    inliers: Mapping[Pair, int]
    features: Mapping[str, int]
    still_share: float
    models: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What is wrong, and what to do about it; both empty when nothing is."""

    what: str
    remedy: str


def diagnose(evidence: Evidence) -> Diagnosis:
    """Name the likeliest cause, the most telling first: a background that stands still, no detail, groups apart."""
    groups = clusters(evidence)
    apart = [group for group in groups[1:] if len(group) > 1]
    if evidence.still_share > STILL_SHARE:
        return Diagnosis(
            what=f"{evidence.still_share:.0%} of the matched detail stands still in the picture: the camera saw the "
            "background, and the object turned before it",
            remedy="run with rig=turntable; if that finds no pose either, " + MARKER_REMEDY,
        )
    plain = [n for n in evidence.names if evidence.features.get(n, 0) < FEW_FEATURES]
    if len(plain) > len(evidence.names) / 2:
        return Diagnosis(
            what=f"{len(plain)} of {len(evidence.names)} photos show fewer than {FEW_FEATURES} features: "
            "the object and its surroundings are too plain or too blurred",
            remedy=MARKER_REMEDY,
        )
    if apart:
        told = "; ".join(f"{len(g)} photos ({shortened(g)})" for g in apart)
        what = f"the photos fall into groups that share too little: the largest has {len(groups[0])} of "
        return Diagnosis(what=f"{what}{len(evidence.names)}, beside it {told}", remedy=BRIDGE_REMEDY)
    what = f"the largest group of photos that match each other has {len(groups[0]) if groups else 0} of "
    return Diagnosis(what=f"{what}{len(evidence.names)}", remedy=OVERLAP_REMEDY)


def clusters(evidence: Evidence) -> list[tuple[str, ...]]:
    """Groups of photos that belong together, largest first.

    Each model is a group; photos that are in none are grouped by their matches with each other.
    """
    seen: set[str] = set()
    groups: list[tuple[str, ...]] = []
    for model in evidence.models:
        group = tuple(n for n in model if n not in seen)
        seen.update(group)
        groups.append(group)
    rest = [n for n in evidence.names if n not in seen]
    groups += connected(rest, evidence.inliers)
    return sorted((g for g in groups if g), key=lambda g: (-len(g), g))


def connected(names: Iterable[str], pairs: Iterable[Pair]) -> list[tuple[str, ...]]:
    """Connected components of the photos `names` under `pairs`, each in the order of `names`."""
    names = list(names)
    root = {n: n for n in names}

    def find(name: str) -> str:
        while root[name] != name:
            root[name] = root[root[name]]
            name = root[name]
        return name

    for a, b in pairs:
        if a in root and b in root:
            root[find(a)] = find(b)
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(find(name), []).append(name)
    return [tuple(g) for g in groups.values()]


def outliers(errors_px: Mapping[str, Float[np.ndarray, "_"]]) -> list[str]:
    """Placed photos whose pose is not to be believed.

    Either too few points fit them to fix a pose, or their errors are far above those of the other photos, as when
    something moved before one was taken.

    Args:
        errors_px: Reprojection errors of each placed photo, by name.
    """
    medians = {n: float(np.median(e)) if len(e) else np.inf for n, e in errors_px.items()}
    usual = float(np.median(list(medians.values()))) if medians else 0.0
    limit = max(OUTLIER_LEAST_PX, OUTLIER_FACTOR * usual)
    return [n for n, e in errors_px.items() if len(e) < OUTLIER_FEW_POINTS or medians[n] > limit]


def shortened(names: Iterable[str]) -> str:
    """The first few of some names."""
    names = list(names)
    return ", ".join(names[:NAMES_SHOWN]) + (" ..." if len(names) > NAMES_SHOWN else "")
