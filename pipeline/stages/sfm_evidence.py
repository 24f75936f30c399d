"""What the matches in a COLMAP database say about a capture."""

from pathlib import Path

import numpy as np  # before pycolmap, whose libraries would otherwise shadow zlib
import pycolmap

from pipeline.stages.sfm_diagnosis import STILL_PX, Evidence
from pipeline.stages.sfm_job import SfmJob
from pipeline.stages.sfm_mapping import Mapped

FEWEST_INLIERS = 15  # COLMAP's own limit for a pair
PAIRS_LOOKED_AT = 300


def read_evidence(job: SfmJob, mapped: Mapped) -> Evidence:
    """Collect what `diagnose` needs, under the names that the user gave the photos."""
    with pycolmap.Database.open(mapped.database) as db:
        told = {i.image_id: job.photos[i.name].name for i in db.read_all_images()}
        features = {name: db.num_keypoints_for_image(key) for key, name in told.items()}
        keys, counts = db.read_two_view_geometry_num_inliers()
        pairs = {pycolmap.pair_id_to_image_pair(k): n for k, n in zip(keys, counts, strict=True) if n >= FEWEST_INLIERS}
        still = _still_share(db, list(pairs))
    return Evidence(
        names=tuple(p.name for p in job.photos.values()),
        inliers={(told[a], told[b]): n for (a, b), n in pairs.items()},
        features=features,
        still_share=still,
        models=tuple(tuple(sorted(_placed(job, m))) for m in mapped.models),
    )


def _placed(job: SfmJob, model: pycolmap.Reconstruction) -> list[str]:
    return [job.photos[i.name].name for i in model.images.values() if i.has_pose]


def _still_share(db: pycolmap.Database, pairs: list[tuple[int, int]]) -> float:
    """Share of the verified matches that lie at the same place in both photos, over an even choice of pairs."""
    still = total = 0
    for a, b in pairs[:: 1 + len(pairs) // PAIRS_LOOKED_AT]:
        matches = np.asarray(db.read_two_view_geometry(a, b).inlier_matches)
        first, second = (_places(db, image)[matches[:, k]] for k, image in enumerate((a, b)))
        still += int((np.abs(first - second).max(1) < STILL_PX).sum())
        total += len(matches)
    return still / total if total else 0.0


def _places(db: pycolmap.Database, image: int) -> np.ndarray:
    return np.asarray(db.read_keypoints(image))[:, :2]


def save_model(job: SfmJob, model: pycolmap.Reconstruction, folder: Path) -> None:
    """Write `cameras.txt`, `images.txt` and `points3D.txt` under the names that the user gave the photos."""
    folder.mkdir(exist_ok=True)
    told = pycolmap.Reconstruction(model)
    for image in told.images.values():
        image.name = job.photos[image.name].name
    told.write_text(folder)
