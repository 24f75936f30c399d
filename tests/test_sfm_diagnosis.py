"""Captures that fail are told apart by their matches, and the photographer is told what to do."""

import dataclasses
import itertools

import numpy as np
import pytest

from pipeline.stages.sfm_diagnosis import Evidence, clusters, connected, diagnose, outliers

NAMES = tuple(f"{k:02d}.jpg" for k in range(10))


def evidence(**changes: object) -> Evidence:
    """Ten photos of which each matches the next one."""
    chain = {(a, b): 50 for a, b in itertools.pairwise(NAMES)}
    whole = Evidence(names=NAMES, inliers=chain, features=dict.fromkeys(NAMES, 2000), still_share=0.01, models=())
    return dataclasses.replace(whole, **changes)


def test_no_matches_at_all_leave_groups_of_one() -> None:
    told = diagnose(evidence(inliers={}))
    assert "the largest group of photos that match each other has 1 of 10" in told.what
    assert "70 % overlap" in told.remedy


def test_two_groups_are_named_with_the_photos_of_the_smaller_one() -> None:
    told = diagnose(evidence(models=(NAMES[:6], NAMES[6:])))
    assert "the largest has 6 of 10, beside it 4 photos (06.jpg, 07.jpg, 08.jpg, 09.jpg)" in told.what
    assert "both groups" in told.remedy


def test_a_background_that_stands_still_is_told_first() -> None:
    told = diagnose(evidence(still_share=0.97, models=(NAMES[:6], NAMES[6:])))
    assert "97% of the matched detail stands still" in told.what
    assert "rig=turntable" in told.remedy and "markers" in told.remedy


def test_an_object_without_detail_gets_markers() -> None:
    told = diagnose(evidence(features=dict.fromkeys(NAMES, 40)))
    assert "10 of 10 photos show fewer than 50 features" in told.what
    assert "markers" in told.remedy and "printed paper" in told.remedy


def test_groups_are_models_first_and_then_what_matches() -> None:
    """A photo in two models counts once; of the rest, matches with placed photos do not make a group."""
    found = clusters(evidence(models=(NAMES[:4], NAMES[3:6])))
    assert found == [NAMES[:4], NAMES[6:], NAMES[4:6]]


def test_components_do_not_depend_on_the_order_of_pairs() -> None:
    pairs = [("a", "b"), ("c", "d"), ("b", "c"), ("e", "x")]
    assert connected("abcdef", pairs) == connected("abcdef", pairs[::-1]) == [("a", "b", "c", "d"), ("e",), ("f",)]


@pytest.mark.parametrize(
    ("errors", "found"),
    [
        ({"a": 0.5, "b": 0.6, "c": 0.4}, []),
        ({"a": 0.5, "b": 0.6, "c": 2.4}, ["c"]),
        ({"a": 0.1, "b": 0.1, "c": 0.9}, []),  # three times the others, but small
    ],
)
def test_photos_that_do_not_fit_are_outliers(errors: dict[str, float], found: list[str]) -> None:
    assert outliers({n: np.full(100, e) for n, e in errors.items()}) == found


def test_a_photo_with_hardly_a_point_is_an_outlier() -> None:
    assert outliers({"a": np.full(100, 0.5), "b": np.full(3, 0.5), "c": np.zeros(0)}) == ["b", "c"]
