"""Which pairs of photos are matched: all of a few, and of many those that probably overlap."""

import dataclasses
from itertools import combinations

import pytest

from pipeline.config import PosesConfig
from pipeline.stages.sfm_features import FeatureSettings, find_features
from pipeline.stages.sfm_job import SfmJob
from pipeline.stages.sfm_matching import choose_pairs
from tests import textured_scene
from tests.test_sfm import as_photos

NAMES = [f"{k:04d}.png" for k in range(14)]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> SfmJob:
    """Seven places around the scene, each photographed again, a little lower, after the round: 0 and 7 look alike."""
    folder = tmp_path_factory.mktemp("pairs")
    first = textured_scene.photos(7)[0]
    photos = as_photos(folder / "taken", first + [p[6:] for p in first])
    sized = [
        dataclasses.replace(p, mask_path=None, height=300 - 6 * (k >= 7), camera_label=f"{k >= 7}")
        for k, p in enumerate(photos.photos)
    ]
    named = {p.image_path.name: p for p in sized}
    job = SfmJob(folder=folder, photos=named, config=PosesConfig(), seed=0, threads=1)
    find_features(job, folder / "database.db", FeatureSettings(max_features=500), lambda fraction, note: None)
    return job


def pairs(job: SfmJob, **settings: int) -> list[tuple[str, str]]:
    changed = dataclasses.replace(job, config=PosesConfig(**settings))
    return choose_pairs(changed, job.folder / "database.db")


def test_few_photos_are_all_matched(job: SfmJob) -> None:
    assert pairs(job) == list(combinations(NAMES, 2))


def test_of_many_photos_neighbours_and_like_ones_are(job: SfmJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.stages.sfm_matching.SEQUENCE_OVERLAP", 2)
    monkeypatch.setattr("pipeline.stages.sfm_matching.LIKE_PHOTOS", 2)
    chosen = pairs(job, exhaustive_photos=5)
    assert len(chosen) == len(set(chosen)) < len(NAMES) * (len(NAMES) - 1) / 2
    assert all(a < b for a, b in chosen)
    assert {(a, b) for a, b in combinations(NAMES, 2) if NAMES.index(b) - NAMES.index(a) <= 2} <= set(chosen)
    again = {(NAMES[k], NAMES[k + 7]) for k in range(7)}  # the same place, far away in the order of names
    assert again <= set(chosen)


def test_groups_of_photos_share_a_camera(job: SfmJob) -> None:
    import pycolmap

    with pycolmap.Database.open(job.folder / "database.db") as db:
        cameras = {i.name: i.camera_id for i in db.read_all_images()}
        sizes = {c.camera_id: c.height for c in db.read_all_cameras()}
    assert [sizes[cameras[n]] for n in NAMES] == [300] * 7 + [294] * 7
    assert len(sizes) == 2
