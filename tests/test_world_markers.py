"""Printed markers in the photos tell the scale: boards of known size, drawn into views by their homographies."""

import dataclasses
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from pipeline.config import WorldConfig
from pipeline.errors import UsageError
from pipeline.formats import images
from pipeline.geometry.triangulation import similarity_scale, triangulate
from pipeline.scene import Camera, View
from pipeline.stages.world import STAGE, settle_world
from pipeline.stages.world_markers import measure_with_markers
from tests.stage_context import make_context, posed
from tests.test_world_frame import camera_at, views

METRES_PER_UNIT = 0.137
SHEET_M = 0.3  # edge of the printed sheet
SHEET_PX = 1200
EDGE_M, EDGE_PX = 0.05, 200
DICTIONARY = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50)


def ring(count: int = 8) -> list[Camera]:
    cameras = []
    for k in range(count):
        angle = 2 * math.pi * k / count
        place = torch.tensor([2.5 * math.cos(angle), 2.0 + 0.3 * (k % 2), 2.5 * math.sin(angle)], dtype=torch.float64)
        cameras.append(camera_at(place, torch.zeros(3, dtype=torch.float64)))
    return cameras


def sheet(numbers: dict[tuple[int, int], tuple[int, int]]) -> np.ndarray:
    """A white sheet with markers: number and edge in pixels, by the corner (x, y) in pixels."""
    page = np.full((SHEET_PX, SHEET_PX), 255, np.uint8)
    for (x, y), (number, edge) in numbers.items():
        page[y : y + edge, x : x + edge] = cv2.aruco.generateImageMarker(DICTIONARY, number, edge)
    return page


def charuco_page() -> tuple[np.ndarray, float]:
    """A board of 7 x 5 squares; returns it and the edge of a square in metres."""
    board = cv2.aruco.CharucoBoard((7, 5), 0.035, 0.026, DICTIONARY)
    page = np.full((SHEET_PX, SHEET_PX), 255, np.uint8)
    page[100:800, 100:1080] = board.generateImage((980, 700))  # 140 px a square
    return page, 140 * SHEET_M / SHEET_PX


def photograph(page: np.ndarray, cameras: list[Camera], folder: Path) -> list[View]:
    """Photos of the page, which lies around the world's origin with y = 0 on a grey table."""
    edge = SHEET_M / METRES_PER_UNIT
    # (column, row) of the page, corner-based, to (x, z) of the world
    world_from_page = np.array([[edge / SHEET_PX, 0, -edge / 2], [0, 0, 0], [0, edge / SHEET_PX, -edge / 2], [0, 0, 1]])
    to_corner = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # OpenCV's pixel centres are at 0
    taken = []
    for view, camera in zip(views(cameras), cameras, strict=True):
        image_from_page = (camera.K @ camera.cam_from_world[:3]).numpy() @ world_from_page
        size = (4 * camera.width, 4 * camera.height)  # four samples a pixel along each side
        finer = np.diag([4.0, 4.0, 1.0]) @ image_from_page
        homography = np.linalg.inv(to_corner) @ finer @ to_corner
        fine = cv2.warpPerspective(page, homography, size, flags=cv2.INTER_LINEAR, borderValue=128)
        photo = cv2.resize(fine, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
        path = folder / f"{view.name}.png"
        images.write_png(path, np.repeat(photo[..., None], 3, -1))
        taken.append(dataclasses.replace(view, image_path=path))
    return taken


LOOSE = {(100, 150): (3, EDGE_PX), (800, 200): (7, EDGE_PX), (500, 850): (11, EDGE_PX)}


def test_loose_markers_tell_the_scale_within_a_percent(tmp_path: Path) -> None:
    context, warnings = make_context(tmp_path)
    taken = photograph(sheet(LOOSE), ring(), tmp_path)
    scale = measure_with_markers(taken, WorldConfig(marker_size_m=EDGE_M), context)
    assert scale == pytest.approx(METRES_PER_UNIT, rel=0.01)
    assert context.metrics["markers"] == 3 and context.metrics["marker_error_px"] < 0.5 and not warnings
    assert context.metrics["marker_residual_mm"] < 0.5


def test_a_charuco_board_tells_the_scale_better_still(tmp_path: Path) -> None:
    context, warnings = make_context(tmp_path)
    page, square_m = charuco_page()
    config = WorldConfig(board_squares="7x5", square_size_m=square_m, marker_size_m=square_m * 0.026 / 0.035)
    scale = measure_with_markers(photograph(page, ring(), tmp_path), config, context)
    assert scale == pytest.approx(METRES_PER_UNIT, rel=0.003)
    assert context.metrics["marker_corners"] == 24 and not warnings


def test_a_marker_of_another_size_is_overruled_and_named(tmp_path: Path) -> None:
    context, warnings = make_context(tmp_path)
    page = sheet(LOOSE | {(100, 850): (23, 260)})
    scale = measure_with_markers(photograph(page, ring(), tmp_path), WorldConfig(marker_size_m=EDGE_M), context)
    assert scale == pytest.approx(METRES_PER_UNIT, rel=0.01)
    assert len(warnings) == 1 and "markers 23 differ in size from the other 3" in warnings[0]


def test_without_markers_the_scale_stays_unknown_and_that_is_said(tmp_path: Path) -> None:
    context, warnings = make_context(tmp_path)
    taken = photograph(sheet({}), ring(3), tmp_path)
    assert measure_with_markers(taken, WorldConfig(marker_size_m=EDGE_M), context) is None
    assert len(warnings) == 1 and "no marker of DICT_4X4_50 was found in 3 photos" in warnings[0]


def test_markers_in_two_photos_only_are_not_believed(tmp_path: Path) -> None:
    context, warnings = make_context(tmp_path)
    taken = photograph(sheet(LOOSE), ring(), tmp_path)[:2]
    assert measure_with_markers(taken, WorldConfig(marker_size_m=EDGE_M), context) is None
    assert len(warnings) == 1 and "3 photos agree" in warnings[0]


def test_the_world_stage_takes_the_markers_scale(tmp_path: Path) -> None:
    """Through the settled world's own unit: metres per unit times the camera's distance is what was built."""
    context, _ = make_context(tmp_path)
    taken = photograph(sheet(LOOSE), ring(), tmp_path)
    capture = settle_world(posed(taken, given=False), WorldConfig(marker_size_m=EDGE_M), context)
    first, third = (capture.views[k].camera.camera_center for k in (0, 2))
    built = torch.dist(taken[0].camera.camera_center, taken[2].camera.camera_center) * METRES_PER_UNIT
    assert capture.metres_per_unit * float(torch.dist(first, third)) == pytest.approx(float(built), rel=0.01)
    assert "m per unit by the markers" in STAGE.summary(capture)


def test_scale_belongs_to_given_poses(tmp_path: Path) -> None:
    context, _ = make_context(tmp_path)
    given = settle_world(posed(views(ring())), WorldConfig(scale=0.5), context)
    first, third = (given.views[k].camera.camera_center for k in (0, 2))
    built = torch.dist(ring()[0].camera_center, ring()[2].camera_center) * 0.5
    assert given.metres_per_unit * float(torch.dist(first, third)) == pytest.approx(float(built))
    with pytest.raises(UsageError, match="solved from the photos .*--distance"):
        settle_world(posed(views(ring()), given=False), WorldConfig(scale=0.5), context)
    unknown = settle_world(posed(views(ring())), WorldConfig(), context)
    assert unknown.metres_per_unit is None and STAGE.summary(unknown).endswith("scale unknown")


def test_a_point_is_found_among_mistaken_photos() -> None:
    cameras, point = ring(), torch.tensor([[0.2, 0.1, -0.3]], dtype=torch.float64)
    pixels = np.stack([c.project(point)[0][0].numpy() for c in cameras])
    found = triangulate(cameras, pixels, limit_px=2.0)
    assert found.agrees.all() and found.error_px < 1e-6
    np.testing.assert_allclose(found.point, point[0].numpy(), atol=1e-9)
    pixels[[1, 4, 6]] += [[40, 3], [-9, 20], [5, 5]]
    found = triangulate(cameras, pixels, limit_px=2.0)
    assert found.agrees.tolist() == [True, False, True, True, False, True, False, True]
    np.testing.assert_allclose(found.point, point[0].numpy(), atol=1e-9)


def test_rays_along_each_other_meet_nowhere() -> None:
    camera = ring()[0]
    assert triangulate([camera, camera], np.full((2, 2), 300.0), limit_px=2.0) is None


def test_the_scale_of_a_similarity_is_recovered_in_space_and_in_a_plane() -> None:
    generator = np.random.default_rng(0)
    rotation = np.linalg.qr(generator.normal(size=(3, 3)))[0]
    rotation *= np.linalg.det(rotation)
    for flat in (1.0, 0.0):
        points = generator.normal(size=(10, 3)) * [1, 1, flat]
        scale, rest = similarity_scale(points, 0.3 * points @ rotation.T + [1, 2, 3])
        assert scale == pytest.approx(0.3) and rest < 1e-12
    mirrored = points + generator.normal(size=(10, 3))
    assert similarity_scale(mirrored, mirrored * [1, 1, -1])[1] > 0.1  # no rotation makes that
