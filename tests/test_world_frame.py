"""The settled world does not depend on the frame in which the poses came."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline.config import WorldConfig
from pipeline.errors import CaptureError
from pipeline.scene import Camera, Capture, View
from pipeline.stages.world_frame import estimate_up, look_at_point, settle, told_rotation, visible_radius
from tests.stage_context import posed

Y = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)


def rotation() -> Tensor:
    """A random proper rotation."""
    q, r = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))
    q = q * torch.sign(torch.diagonal(r))
    return q * torch.linalg.det(q)


def camera_at(center: Tensor, target: Tensor, *, roll: float = 0.0) -> Camera:
    """A camera that looks at `target`, its image upright against +Y but for `roll` radians."""
    forward = torch.nn.functional.normalize(target - center, dim=0)
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, Y), dim=0)
    down = torch.linalg.cross(forward, right)
    right, down = (
        right * math.cos(roll) + down * math.sin(roll),
        down * math.cos(roll) - right * math.sin(roll),
    )
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = torch.stack([right, down, forward])
    pose[:3, 3] = -pose[:3, :3] @ center
    K = torch.tensor([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]], dtype=torch.float64)
    return Camera(K=K, cam_from_world=pose, width=640, height=480)


def ring(count: int = 24, *, jitter: float = 0.0, arc: float = 2 * math.pi, target: Tensor = 0 * Y) -> list[Camera]:
    """Cameras around `target` at two heights; `jitter` in radians and units."""
    cameras = []
    for k in range(count):
        angle = arc * k / count
        place = torch.tensor([3 * math.cos(angle), (0.5, 2.0)[k % 2], 3 * math.sin(angle)], dtype=torch.float64)
        place, aim = (p + target + jitter * torch.randn(3, dtype=torch.float64) for p in (place, 0 * Y))
        cameras.append(camera_at(place, aim, roll=jitter * float(torch.randn(()))))
    return cameras


def views(cameras: list[Camera]) -> list[View]:
    eye, ones = torch.eye(4, dtype=torch.float64), torch.ones(3)
    return [
        View(name=f"{k}.jpg", image_path=Path("x"), mask_path=None, camera=camera, exposure=ones, light_from_world=eye)
        for k, camera in enumerate(cameras)
    ]


def similarity(scale: float = 1.0) -> Tensor:
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3] = scale * rotation()
    matrix[:3, 3] = torch.randn(3, dtype=torch.float64)
    return matrix


def settled(capture: Capture, **known: str) -> Capture:
    return settle(capture, WorldConfig(**known), seed=0)


def centers(capture: Capture) -> Tensor:
    return torch.stack([v.camera.camera_center for v in capture.views])


def angle_deg(a: Tensor, b: Tensor) -> float:
    return math.degrees(math.acos(min(1.0, float(a @ b / torch.linalg.norm(a) / torch.linalg.norm(b)))))


@pytest.mark.parametrize("arc", [2 * math.pi, math.pi / 2], ids=["all round", "a quarter"])
def test_up_is_found_in_any_frame_from_photos_held_roughly_level(arc: float) -> None:
    for _ in range(10):
        turn = similarity()
        cameras = [c.moved(turn) for c in ring(jitter=0.03, arc=arc)]
        # 0.03 rad = 1.7 degrees of roll in each of 24 photos; a quarter ring leaves its middle axis 3 times weaker
        assert angle_deg(estimate_up(cameras), turn[:3, :3] @ Y) < 3


def test_up_is_found_from_one_side_and_points_up_rather_than_down() -> None:
    row = [camera_at(torch.tensor([x, 1.0, 4.0]).double(), torch.tensor([x, 0.0, 0.0]).double()) for x in (-1, 0, 1)]
    assert angle_deg(estimate_up(row), Y) < 20  # as far as the cameras look down
    assert float(estimate_up(ring()) @ Y) > 0.999999


@pytest.mark.parametrize(("tilt_deg", "snapped"), [(3, True), (7, False)])
def test_given_poses_keep_an_axis_that_is_nearly_up(tilt_deg: float, snapped: bool) -> None:
    angle = math.radians(tilt_deg)
    turn = torch.eye(4, dtype=torch.float64)
    turn[1:3, 1:3] = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    capture = settled(posed(views([c.moved(turn) for c in ring()])))
    axes = capture.world_from_input[:3, :3] / torch.linalg.det(capture.world_from_input[:3, :3]) ** (1 / 3)
    assert torch.equal(axes[1], Y) == snapped
    assert angle_deg(axes[1], turn[:3, :3] @ Y) == pytest.approx(tilt_deg if snapped else 0, abs=1e-5)


def test_z_up_poses_settle_by_the_usual_turn_of_gltf() -> None:
    turn = torch.eye(4, dtype=torch.float64)
    turn[:3, :3] = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # +Y to +Z
    capture = settled(posed(views([c.moved(turn) for c in ring(jitter=0.01)])))
    axes = capture.world_from_input[:3, :3]
    expected = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]], dtype=torch.float64)
    torch.testing.assert_close(axes / axes[0, 0], expected)


def test_the_look_at_point_ignores_photos_that_look_elsewhere() -> None:
    target = torch.tensor([4.0, -2.0, 7.0], dtype=torch.float64)
    cameras = ring(target=target)
    torch.testing.assert_close(look_at_point(cameras), target)
    for k in range(0, 24, 6):  # one in six aims aside
        cameras[k] = camera_at(cameras[k].camera_center, target + torch.tensor([3.0, 1.0, -2.0]))
    torch.testing.assert_close(look_at_point(cameras), target)


def test_cameras_that_look_away_from_each_other_are_refused() -> None:
    outward = [camera_at(c.camera_center, 2 * c.camera_center) for c in ring()]
    with pytest.raises(CaptureError, match="do not look at one object"):
        look_at_point(outward)
    with pytest.raises(CaptureError, match="only 0 photos show the point"):
        visible_radius(outward, 0 * Y)


def test_the_visible_ball_touches_the_nearest_edge_of_the_photo() -> None:
    cameras = [camera_at(torch.tensor([0.0, 0.0, 5.0]).double(), 0 * Y)] * 3
    assert visible_radius(cameras, 0 * Y) == pytest.approx(5 * 240 / 500)


@pytest.mark.parametrize("snap_up", [False, True])
def test_the_settled_world_is_the_same_from_any_frame(snap_up: bool) -> None:
    cameras = ring(jitter=0.02, target=torch.tensor([1.0, 2.0, 3.0]).double())
    points = torch.randn(50, 3, dtype=torch.float64)
    first = settled(posed(views(cameras), points, given=False))
    for _ in range(5):
        move = similarity(scale=float(torch.rand(()) * 5 + 0.1))
        moved = points @ move[:3, :3].mT + move[:3, 3]
        second = settled(posed(views([c.moved(move) for c in cameras]), moved, given=snap_up))
        # equal but for a turn about +Y, which nothing in the photos fixes
        both = [torch.cat([centers(c), c.points]) for c in (first, second)]
        torch.testing.assert_close(both[0][:, 1], both[1][:, 1])
        torch.testing.assert_close(torch.cdist(both[0], both[0]), torch.cdist(both[1], both[1]), rtol=1e-6, atol=1e-6)
        before, _ = cameras[3].project(points)
        after, _ = second.views[3].camera.project(second.points)
        torch.testing.assert_close(after, before)
        back = torch.linalg.inv(second.world_from_input)
        torch.testing.assert_close(second.points @ back[:3, :3].mT + back[:3, 3], moved)


def test_a_settled_capture_is_centred_upright_and_of_unit_size() -> None:
    capture = settled(posed(views(ring(jitter=0.01))))
    again = settled(posed(list(capture.views)))
    torch.testing.assert_close(again.world_from_input, torch.eye(4, dtype=torch.float64), atol=1e-9, rtol=0)
    assert capture.object_box.tolist() == [[-1.0] * 3, [1.0] * 3] and capture.metres_per_unit is None


def table(tilt_deg: float, *, height: float = -0.6) -> Tensor:
    """Sparse points on a table top around the origin that is `tilt_deg` from level, and some above it."""
    across = 3 * torch.rand(600, 2, dtype=torch.float64) - 1.5
    slope = math.tan(math.radians(tilt_deg))
    top = torch.stack([across[:, 0], height + slope * across[:, 0], across[:, 1]], 1)
    return torch.cat([top, 0.3 * torch.randn(100, 3, dtype=torch.float64).clamp(-1, 1)])


@pytest.mark.parametrize(("tilt_deg", "used"), [(0, True), (4, True), (12, True), (18, False)])
def test_the_support_plane_refines_up_within_a_limit(tilt_deg: float, used: bool) -> None:
    cameras = [c.moved(torch.eye(4, dtype=torch.float64)) for c in ring(jitter=0.02)]
    turn = similarity(scale=2.0)
    points = 1.4 * table(tilt_deg)  # the visible ball's radius is about 1.4
    moved = points @ turn[:3, :3].mT + turn[:3, 3]
    capture = settled(posed(views([c.moved(turn) for c in cameras]), moved, given=False))
    assert capture.up_from == ("the support plane" if used else "the cameras")
    up = (capture.world_from_input[:3, :3] @ turn[:3, :3]).mT @ Y
    angle = math.radians(tilt_deg)
    normal = torch.tensor([-math.sin(angle), math.cos(angle), 0], dtype=torch.float64)
    assert angle_deg(up, normal if used else Y) < (0.1 if used else 3)


def test_given_poses_whose_up_is_an_axis_win_over_the_plane() -> None:
    capture = settled(posed(views(ring()), 1.4 * table(4), given=True))
    assert capture.up_from == "an axis of the given poses"
    assert settled(posed(views(ring())), up="0,0,1").up_from == "--up"


def test_up_comes_from_the_first_pass_alone() -> None:
    """In the second the object lies on its side, so that these cameras circle another axis of it."""
    side = torch.eye(4, dtype=torch.float64)
    side[:3, :3] = torch.tensor([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    second = [dataclasses.replace(v, light_index=1) for v in views([c.moved(side) for c in ring(30)])]
    capture = settled(posed([*views(ring()), *second], given=False))
    axes = capture.world_from_input[:3, :3]
    assert angle_deg(axes[1], Y) < 1e-4


def test_told_directions_become_up_and_front() -> None:
    for up, front in [("0,0,1", ""), ("", "1,0,0"), ("1,2,3", "3,1,-2"), ("0,-1,0", "0 0 2"), ("0,1,0", "0,5,-1")]:
        config = WorldConfig(up=up, front=front)
        rotation = told_rotation(config)
        torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3, dtype=torch.float64))
        assert float(torch.linalg.det(rotation)) == pytest.approx(1)
        told_up = torch.tensor(config.up_direction or (0.0, 1.0, 0.0), dtype=torch.float64)
        torch.testing.assert_close(rotation @ told_up, Y)
        if front:
            x, _, z = (rotation @ torch.tensor(config.front_direction, dtype=torch.float64)).tolist()
            assert x == pytest.approx(0, abs=1e-12) and z > 0


def test_told_directions_are_those_of_the_world_without_them() -> None:
    """What the user reads off the first result is what happens, whatever frame the poses came in."""
    turn = similarity()
    capture = posed(views([c.moved(turn) for c in ring(jitter=0.02)]))
    before, after = settled(capture), settled(capture, up="1,0,0", front="0,1,0")
    expected = torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]], dtype=torch.float64)
    torch.testing.assert_close(centers(after), centers(before) @ expected.mT)


def test_a_told_box_is_kept() -> None:
    capture = settled(posed(views(ring())), box="-0.1,-.2,-0.3 0.4,0.5,0.6")
    assert capture.box_given and capture.object_box.tolist() == [[-0.1, -0.2, -0.3], [0.4, 0.5, 0.6]]
