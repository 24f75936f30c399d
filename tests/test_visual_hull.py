"""The visual hull of masks that are known in closed form."""

import math

import numpy as np
import pytest
import torch

from pipeline.geometry.marching_tetrahedra import marching_tetrahedra
from pipeline.geometry.mesh_ops import open_edges, signed_volume
from pipeline.geometry.outline import mask_distance
from pipeline.geometry.visual_hull import hull_box, hull_sdf
from tests.shapes import camera_at, cameras_around, grid, points, sphere_mask

CAMERAS = cameras_around(32, size_px=96, focal_px=120.0)
EMPTY = mask_distance(np.zeros((96, 96), np.float32))
BALL = 4 / 3 * math.pi


@pytest.fixture(scope="module")
def distances():
    return [mask_distance(sphere_mask(camera)) for camera in CAMERAS]


def hull_volume(sdf, where):
    vertices, faces = marching_tetrahedra(sdf.double(), where)
    assert open_edges(faces) == 0
    return signed_volume(vertices, faces)


def test_the_hull_of_a_sphere_is_the_sphere(distances):
    where = grid(49)
    vertices, faces = marching_tetrahedra(hull_sdf(where, CAMERAS, distances).double(), where)
    assert open_edges(faces) == 0
    # A pixel is 1/30 of the radius: 0.1 px of outline is 0.003. Measured radii .9965 .. 1.009, volume .9989.
    radius = vertices.norm(dim=-1)
    assert 0.993 < radius.min() < 1.0 < radius.max() < 1.015
    assert 0.99 < signed_volume(vertices, faces) / BALL < 1.005


def test_the_field_is_a_distance_near_the_surface(distances):
    where = grid(33)
    exact = points(where).norm(dim=-1) - 1
    near = exact.abs() < 0.1
    error = (hull_sdf(where, CAMERAS, distances) - exact)[near]
    assert error.abs().max() < 0.016  # measured -.011 .. .006


def test_one_black_mask_carves_everything_unless_one_view_may_dissent(distances):
    where = grid(25)
    broken = [EMPTY, *distances[1:]]
    assert not (hull_sdf(where, CAMERAS, broken) < 0).any()
    tolerant = hull_volume(hull_sdf(where, CAMERAS, broken, dissent=0.05), where)
    assert tolerant == pytest.approx(hull_volume(hull_sdf(where, CAMERAS, distances), where), rel=0.005)


def test_dissent_counts_whole_views(distances):
    where = grid(17)
    broken = [EMPTY, EMPTY, *distances[2:]]
    assert not (hull_sdf(where, CAMERAS, broken, dissent=1.9 / 32) < 0).any()
    assert (hull_sdf(where, CAMERAS, broken, dissent=2 / 32) < 0).any()


def test_views_say_nothing_about_what_they_do_not_frame(distances):
    """Close-ups of the sphere's middle, all covered, leave the hull of the others as it is."""
    where = grid(25)
    close = [camera_at(c.camera_center.tolist(), size_px=40, focal_px=400.0) for c in CAMERAS[:8]]
    full = mask_distance(np.ones((40, 40), np.float32))
    alone = hull_sdf(where, CAMERAS, distances)
    together = hull_sdf(where, [*CAMERAS, *close], [*distances, *[full] * 8])
    middle = points(where).norm(dim=-1) < 1.3  # what too small a share of the photos frames is outside anyway
    torch.testing.assert_close(together[middle], alone[middle])
    assert (together[~middle] > 0).all()


def test_points_behind_the_cameras_or_out_of_frame_are_outside(distances):
    where = grid(17, half=8.0)
    inside = hull_sdf(where, CAMERAS, distances) < 0
    assert inside.any()
    assert points(where)[inside].norm(dim=-1).max() < 1.1


def test_hull_box_contains_the_object_tightly(distances):
    for half, center in ((1.2, 0.0), (3.0, 0.7)):
        start = torch.tensor([[center - half] * 3, [center + half] * 3], dtype=torch.float64)
        box = hull_box(CAMERAS, distances, start)
        assert (box[0] < -1).all()
        assert (box[1] > 1).all()
        assert (box.abs() < 1.15).all()  # 3 % of 2.1 units, and two cells of 1/45 on either side


def test_no_common_point_gives_no_box(distances):
    start = torch.tensor([[-1.5] * 3, [1.5] * 3], dtype=torch.float64)
    assert hull_box(CAMERAS, [EMPTY, *distances[1:]], start) is None
