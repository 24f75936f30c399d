"""How far an asset's surface is from the true one: Chamfer distance and F-score."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import KDTree

ASKED, DENSE = 60_000, 1_500_000  # points that ask for their nearest, and points that stand for a surface
_SEED = 0


@dataclass(frozen=True, kw_only=True)
class SurfaceFigures:
    """Lengths are in % of the diagonal of the true mesh's box.

    Attributes:
        accuracy_pct: Mean distance from points of the asset to the true surface.
        completeness_pct: Mean distance from true points that the test views see to the asset.
        f_score: Harmonic mean of the shares of both that are nearer than 1 %.
        f_score_half: The same at half a percent.
    """

    accuracy_pct: float
    completeness_pct: float
    f_score: float
    f_score_half: float

    @property
    def chamfer_pct(self) -> float:
        """Mean of accuracy and completeness."""
        return (self.accuracy_pct + self.completeness_pct) / 2


def compare_surfaces(
    ours: tuple[Float[np.ndarray, "vertices 3"], Int[np.ndarray, "faces 3"]],
    true: tuple[Float[np.ndarray, "corners 3"], Int[np.ndarray, "triangles 3"]],
    seen: Float[np.ndarray, "points 3"],
) -> SurfaceFigures:
    """Compare meshes (vertices, faces) in one frame.

    Args:
        ours: The asset's.
        true: The true one.
        seen: True surface points that the test views see: what no camera sees cannot be asked for.
    """
    rng = np.random.default_rng(_SEED)
    diagonal = float(np.linalg.norm(true[0].max(0) - true[0].min(0)))
    seen = seen[rng.choice(len(seen), min(ASKED, len(seen)), replace=False)]
    accuracy = _nearest(surface_samples(*ours, ASKED, rng), surface_samples(*true, DENSE, rng)) / diagonal
    completeness = _nearest(seen, surface_samples(*ours, DENSE, rng)) / diagonal
    return SurfaceFigures(
        accuracy_pct=100 * float(accuracy.mean()),
        completeness_pct=100 * float(completeness.mean()),
        f_score=_f_score(accuracy, completeness, 0.01),
        f_score_half=_f_score(accuracy, completeness, 0.005),
    )


def surface_samples(
    vertices: Float[np.ndarray, "vertices 3"],
    faces: Int[np.ndarray, "faces 3"],
    count: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, "count 3"]:
    """Points spread evenly over a surface."""
    a, b, c = vertices[faces].astype(np.float64).transpose(1, 0, 2)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    at = rng.choice(len(faces), count, p=area / area.sum())
    u, v = np.sqrt(rng.random(count))[:, None], rng.random(count)[:, None]
    return (1 - u) * a[at] + u * (1 - v) * b[at] + u * v * c[at]


def _nearest(
    points: Float[np.ndarray, "points 3"], surface: Float[np.ndarray, "dense 3"]
) -> Float[np.ndarray, "points"]:
    return KDTree(surface, balanced_tree=False).query(points)[0]


def _f_score(accuracy: Float[np.ndarray, "_"], completeness: Float[np.ndarray, "_"], limit: float) -> float:
    precision, recall = float((accuracy < limit).mean()), float((completeness < limit).mean())
    return 2 * precision * recall / max(precision + recall, 1e-9)
