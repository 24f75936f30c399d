"""The object's box: wide enough for hull and points, and honest about what the frames cut off."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.errors import CaptureError
from pipeline.geometry.object_box import frame_contact, object_box, points_in_masks, search_box
from pipeline.geometry.outline import mask_distance
from pipeline.scene import View
from pipeline.stages.masks_box import find_box
from tests.shapes import cameras_around, sphere_mask
from tests.stage_context import make_context, posed

CAMERAS = cameras_around(16, size_px=96, focal_px=120.0)
EMPTY = torch.zeros(0, 3, dtype=torch.float64)


def cube(half: float) -> torch.Tensor:
    return torch.tensor([[-half] * 3, [half] * 3], dtype=torch.float64)


@pytest.fixture(scope="module")
def distances() -> list:
    return [mask_distance(sphere_mask(camera)) for camera in CAMERAS]


@pytest.mark.parametrize("half", [0.05, 0.3, 1.0])
def test_a_start_box_that_cuts_the_object_grows(distances: list, half: float) -> None:
    start, _ = search_box(CAMERAS, distances, cube(half))
    box = object_box(CAMERAS, distances, start, dissent=0.0, points=EMPTY)
    # the unit ball, 3 % padding on both sides, half a cell's diagonal of caution
    assert (box[0] < -1.0).all() and (box[0] > -1.2).all() and (box[1] > 1.0).all() and (box[1] < 1.2).all()
    assert torch.equal(start, cube(half)) == (half == 1.0)


def test_points_inside_nearly_all_masks_widen_the_box(distances: list) -> None:
    """One mask lacks the upper half, which the hull then lacks; the points on it still say it exists."""
    half = [d.copy() for d in distances]
    half[0][:48] = 50.0
    points = torch.nn.functional.normalize(torch.randn(400, 3, dtype=torch.float64), dim=1) * 0.97
    stray = torch.tensor([[3.0, 0, 0], [0, 5.0, 0], [0.2, 1.3, 0]], dtype=torch.float64)
    lower = object_box(CAMERAS, half, cube(1.0), dissent=0.0, points=EMPTY)
    whole = object_box(CAMERAS, half, cube(1.0), dissent=0.0, points=torch.cat([points, stray]))
    assert (whole[1] - lower[1]).max() > 0.3
    assert (whole[1] < 1.2).all() and (whole[0] > -1.2).all()
    assert not points_in_masks(stray, CAMERAS, distances).any()
    assert points_in_masks(0.9 * points, CAMERAS, distances).all()


def test_few_points_say_nothing(distances: list) -> None:
    few = torch.full((10, 3), 0.1, dtype=torch.float64)
    box = object_box(CAMERAS, distances, cube(1.0), dissent=0.0, points=few)
    assert torch.equal(box, object_box(CAMERAS, distances, cube(1.0), dissent=0.0, points=EMPTY))


def test_contact_with_the_frame_is_a_share_of_it() -> None:
    mask = np.zeros((50, 50), np.float32)
    mask[10:40, 10:40] = 1
    assert frame_contact(mask_distance(mask)) == 0
    mask[10:40, :40] = 1  # 30 pixels of the 196 of the frame
    assert frame_contact(mask_distance(mask)) == pytest.approx(30 / 196, abs=0.01)


def capture_of(distances: list):
    eye, ones = torch.eye(4, dtype=torch.float64), torch.ones(3)
    views = [
        View(name=f"{k}.jpg", image_path=Path("x"), mask_path=None, camera=c, exposure=ones, light_from_world=eye)
        for k, c in enumerate(CAMERAS)
    ]
    return dataclasses.replace(posed(views), object_box=cube(1.0))


def test_photos_whose_frame_cuts_the_object_are_named(distances: list, tmp_path: Path) -> None:
    cut = [d.copy() for d in distances]
    for k in (2, 5):
        cut[k][:, :48] = -5.0
    context, warnings = make_context(tmp_path)
    find_box(capture_of(cut), CAMERAS, cut, 0.2, context)
    assert len(warnings) == 1 and "over the frame of 2 of 16 photos" in warnings[0]
    assert "2.jpg, 5.jpg" in warnings[0] and "step back" in warnings[0]
    assert context.metrics["cut_by_frame"] == 2


def test_the_users_box_wins_and_masks_without_a_common_point_are_refused(distances: list, tmp_path: Path) -> None:
    context, warnings = make_context(tmp_path)
    told = dataclasses.replace(capture_of(distances), object_box=cube(0.123), box_given=True)
    assert torch.equal(find_box(told, CAMERAS, distances, 0.0, context), cube(0.123))
    nothing = [*distances[1:], mask_distance(np.zeros((96, 96), np.float32))]
    with pytest.raises(CaptureError, match="no point in common"):
        find_box(capture_of(nothing), CAMERAS, nothing, 0.0, context)
    assert not warnings
