"""Matching photos with each other, pair by pair, so that the result does not depend on how many threads work."""

from itertools import combinations
from pathlib import Path

import numpy as np  # before pycolmap, whose libraries would otherwise shadow zlib
import pycolmap
from jaxtyping import Float

from pipeline.stages.sfm_job import Progress, SfmJob

Pair = tuple[str, str]

BLOCK = 24  # photos: pairs go to COLMAP in blocks of BLOCK x BLOCK, whose descriptors it keeps in memory
SEQUENCE_OVERLAP = 8  # neighbours in the order of names, and those at 16, 32, ... photos' distance
LIKE_PHOTOS = 24  # most similar photos that each photo is matched with
WORDS = 256  # of the vocabulary that similarity is measured with
SAMPLE = 40_000  # descriptors that the vocabulary is made from
ROUNDS = 12  # of k-means


def match(job: SfmJob, database: Path, progress: Progress) -> None:
    """Match and verify the pairs that `choose_pairs` names.

    Without guided matching: once a chance geometry stands, matches along its lines confirm it, and unlike photos join.

    Args:
        job: Photos and settings.
        database: Holds the features; takes the matches.
        progress: Told the pairs done.
    """
    pairs = choose_pairs(job, database)
    blocks = _blocks(list(job.photos), pairs)
    listed, done = database.with_suffix(".pairs"), 0
    matching = pycolmap.FeatureMatchingOptions()
    matching.num_threads = job.threads
    matching.use_gpu = False
    verification = pycolmap.TwoViewGeometryOptions()
    verification.ransac.random_seed = job.seed
    pairing = pycolmap.ImportedPairingOptions()
    pairing.match_list_path = listed
    for block in blocks:
        progress(done / len(pairs), f"matched {done} of {len(pairs)} pairs")
        listed.write_text("".join(f"{a} {b}\n" for a, b in block), encoding="utf-8")
        pycolmap.match_image_pairs(
            database,
            matching_options=matching,
            pairing_options=pairing,
            verification_options=verification,
            device=pycolmap.Device.cpu,
        )
        done += len(block)
    listed.unlink(missing_ok=True)


def choose_pairs(job: SfmJob, database: Path) -> list[Pair]:
    """All pairs of up to `exhaustive_photos` photos; of more, neighbours in the order of names and like photos."""
    names = list(job.photos)
    if len(names) <= job.config.exhaustive_photos:
        return list(combinations(names, 2))
    index = {name: k for k, name in enumerate(names)}
    chosen = {(a, b) for a, b in combinations(range(len(names)), 2) if _are_neighbours(b - a)}
    likeness = _likeness(_word_counts(names, database, job.seed))
    for a, row in enumerate(likeness):
        closest = np.argsort(-row, kind="stable")[: LIKE_PHOTOS + 1]
        chosen |= {(min(a, int(b)), max(a, int(b))) for b in closest if int(b) != a}
    return [(names[a], names[b]) for a, b in sorted(chosen) if index[names[a]] < index[names[b]]]


def _are_neighbours(distance: int) -> bool:
    return distance <= SEQUENCE_OVERLAP or distance in (16, 32, 64, 128)


def _blocks(names: list[str], pairs: list[Pair]) -> list[list[Pair]]:
    """The pairs, grouped so that each group takes few photos."""
    block_of = {name: k // BLOCK for k, name in enumerate(names)}
    groups: dict[tuple[int, int], list[Pair]] = {}
    for a, b in pairs:
        groups.setdefault((block_of[a], block_of[b]), []).append((a, b))
    return [groups[key] for key in sorted(groups)]


def _word_counts(names: list[str], database: Path, seed: int) -> Float[np.ndarray, "photos words"]:
    """How often each visual word occurs in each photo (Sivic and Zisserman, Video Google, 2003)."""
    with pycolmap.Database.open(database) as db:
        ids = {i.name: i.image_id for i in db.read_all_images()}
        descriptors = [np.asarray(db.read_descriptors(ids[n]).data, np.float32) for n in names]
    random = np.random.default_rng(seed)
    share = max(1, SAMPLE // len(names))
    sample = np.concatenate([random.permutation(d)[:share] for d in descriptors])
    words = random.permutation(sample)[:WORDS].copy()
    for _ in range(ROUNDS):
        nearest = _nearest(sample, words)
        sums = np.zeros_like(words)
        np.add.at(sums, nearest, sample)
        counts = np.bincount(nearest, minlength=len(words))[:, None]
        words = np.where(counts > 0, sums / np.maximum(counts, 1), words)
    return np.stack([np.bincount(_nearest(d, words), minlength=len(words)) for d in descriptors]).astype(np.float64)


def _nearest(descriptors: Float[np.ndarray, "n 128"], words: Float[np.ndarray, "words 128"]) -> np.ndarray:
    """The word nearest to each descriptor."""
    return np.asarray(((words**2).sum(1) - 2 * descriptors @ words.T).argmin(1))


def _likeness(counts: Float[np.ndarray, "photos words"]) -> Float[np.ndarray, "photos photos"]:
    """Cosine of the photos' word counts, rare words weighing more (tf-idf)."""
    rarity = np.log((1 + len(counts)) / (1 + (counts > 0).sum(0)))
    weighed = np.sqrt(counts) * (rarity + 1e-3)
    weighed /= np.linalg.norm(weighed, axis=1, keepdims=True).clip(1e-12)
    return weighed @ weighed.T
