"""Masks against the hull of the others: what contradicts is found, named, and on request repaired."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.config import MasksConfig
from pipeline.errors import InputError
from pipeline.formats.images import read_mask
from pipeline.geometry.hull_of_others import rank_exclusions
from pipeline.geometry.outline import mask_distance
from pipeline.geometry.visual_hull import hull_sdf
from pipeline.stages.masks import complete_masks
from pipeline.stages.masks_checks import SmallMask, check_masks, find_inverted, hulls_of_others, soft_share
from tests.plain_photos import WHITE, with_masks, write_photos
from tests.shapes import cameras_around, grid, sphere_mask
from tests.stage_context import make_context

CAMERAS = cameras_around(16, size_px=96, focal_px=120.0)
BOX = torch.tensor([[-1.2] * 3, [1.2] * 3], dtype=torch.float64)


def sphere_masks(change=lambda index, mask: mask) -> list[SmallMask]:
    masks = [change(k, sphere_mask(c).astype(np.float32)) for k, c in enumerate(CAMERAS)]
    pairs = enumerate(zip(CAMERAS, masks, strict=True))
    return [SmallMask(name=f"{k:02d}", camera=c, mask=m, distance=mask_distance(m)) for k, (c, m) in pairs]


def checked(masks: list[SmallMask]):
    seen = hulls_of_others(masks, BOX, 0.0, threads=2)
    assert seen is not None
    return check_masks(masks, seen)


@pytest.mark.parametrize("dissent", [0.0, 0.13])
def test_leaving_a_view_out_is_carving_without_it(dissent: float) -> None:
    masks, where = sphere_masks(), grid(17)
    distances = [m.distance for m in masks]
    ranked = rank_exclusions(where, CAMERAS, distances, dissent=dissent)
    whole = hull_sdf(where, CAMERAS, distances, dissent=dissent).numpy()
    assert np.allclose(ranked.sdf(), whole, atol=1e-5)
    framed = ranked.framed == 16  # elsewhere, one camera less changes who has a say
    assert framed.mean() > 0.5
    for left_out in (0, 7, 15):
        others = [k for k in range(16) if k != left_out]
        same = int(dissent * 16 + 1e-9) / 15  # the same number of views
        carved = hull_sdf(where, [CAMERAS[k] for k in others], [distances[k] for k in others], dissent=same)
        assert np.allclose(ranked.sdf(left_out)[framed], carved.numpy()[framed], atol=1e-5)


def test_silhouettes_of_the_hull_are_those_of_the_sphere() -> None:
    for check, mask in zip(checked(sphere_masks()), sphere_masks(), strict=True):
        assert not check.flags
        assert check.iou > 0.93 and check.outside_share < 0.01  # 15 outlines leave the hull a little fatter
        assert np.abs(check.seen - mask.mask).mean() < 0.02


def test_a_person_beside_the_object_flags_that_photo_alone() -> None:
    def person(index: int, mask: np.ndarray) -> np.ndarray:
        if index == 5:
            mask[20:96, :22] = 1
        return mask

    checks = checked(sphere_masks(person))
    assert [c.name for c in checks if c.flags] == ["05"]
    assert checks[5].outside_share > 0.3
    assert "outside of the hull of the others" in " ".join(checks[5].flags)


def test_a_mask_that_lacks_a_half_is_flagged_and_hurts_no_other() -> None:
    def half(index: int, mask: np.ndarray) -> np.ndarray:
        if index == 2:
            mask[48:] = 0
        return mask

    checks = checked(sphere_masks(half))
    assert [c.name for c in checks if c.flags] == ["02"]
    assert 0.4 < checks[2].missing_share < 0.6


@pytest.mark.parametrize("wrong", [{3}, {1, 4, 6, 9, 12}, set(range(16))])
def test_inverted_masks_are_found_however_many(wrong: set[int]) -> None:
    masks = sphere_masks(lambda index, mask: 1 - mask if index in wrong else mask)
    assert find_inverted(masks, BOX, threads=2) == [f"{k:02d}" for k in sorted(wrong)]


def test_masks_that_fill_the_frame_are_not_called_inverted() -> None:
    assert find_inverted(sphere_masks(lambda index, mask: np.ones_like(mask)), BOX, threads=2) == []


def test_softness_counts_beyond_the_outline() -> None:
    sharp, veiled = sphere_masks(), sphere_masks(lambda index, mask: 0.6 * mask)
    assert soft_share(sharp[0]) == 0 and soft_share(veiled[0]) > 0.7


def test_given_masks_that_are_inverted_are_refused_by_name(tmp_path: Path) -> None:
    capture, truth = write_photos(tmp_path / "photos", 8, WHITE)
    truth[2] = 1 - truth[2]
    with pytest.raises(InputError, match=r"1 of 8 masks are inverted.*02\.png") as caught:
        complete_masks(
            with_masks(capture, truth, tmp_path / "masks"), None, MasksConfig(), make_context(tmp_path / "stage")[0]
        )
    assert caught.value.exit_code == 3


def test_contradicted_masks_are_flagged_and_on_request_repaired(tmp_path: Path) -> None:
    capture, truth = write_photos(tmp_path / "photos", 10, WHITE)
    given = [t.copy() for t in truth]
    given[4][:, 100:] = 0  # half of the object is missing
    given[7][:60, :60] = 1  # something beside it
    capture = with_masks(capture, given, tmp_path / "masks")

    context, warnings = make_context(tmp_path / "kept")
    done = complete_masks(capture, None, MasksConfig(), context)
    assert [v.mask_path for v in done.views] == [v.mask_path for v in capture.views]
    records = json.loads((tmp_path / "kept" / "masks.json").read_text())["masks"]
    assert [r["name"] for r in records if r["flags"]] == ["04.png", "07.png"]
    assert any("04.png" in w and "07.png" in w for w in warnings)

    context, _ = make_context(tmp_path / "repaired")
    done = complete_masks(capture, None, MasksConfig(repair=True), context)
    for index, view in enumerate(done.views):
        made, right = read_mask(view.mask_path).numpy() > 0.5, truth[index] > 0.5
        assert (made & right).sum() / (made | right).sum() > (0.93 if index in (4, 7) else 0.999)
        assert (view.mask_path == capture.views[index].mask_path) == (index not in (4, 7))
    kept = read_mask(capture.views[4].mask_path).numpy()
    assert np.abs(kept - given[4]).max() < 0.01  # the original stays
    records = json.loads((tmp_path / "repaired" / "masks.json").read_text())["masks"]
    assert records[4]["method"] == "given, repaired" and records[5]["method"] == "given"


def test_a_photo_that_shows_something_else_is_left_out_and_named(tmp_path: Path) -> None:
    capture, truth = write_photos(tmp_path / "photos", 8, WHITE)
    truth[3] = np.roll(truth[3], (70, 60), (0, 1))  # or a pose that is far off
    capture = with_masks(capture, truth, tmp_path / "masks")
    context, warnings = make_context(tmp_path / "stage")
    done = complete_masks(capture, None, MasksConfig(), context)
    assert [v.name for v in done.views] == [f"{k:02d}.png" for k in (0, 1, 2, 4, 5, 6, 7)]
    assert any("1 of 8 photos are left out" in w and "03.png" in w for w in warnings)
    assert done.mask_dissent == 0 and context.metrics["hull_iou"] > 0.9
    records = json.loads((tmp_path / "stage" / "masks.json").read_text())["masks"]
    assert len(records) == 8 and records[3]["hull_iou"] < 0.3


def test_the_hull_needs_three_masks_to_judge_one() -> None:
    two = [replace(m, mask=1 - m.mask, distance=-m.distance) for m in sphere_masks()[:2]]
    assert find_inverted(two, BOX, threads=1) == []
