"""Frames invert, keep their hand, and mean what OpenGL, three.js and COLMAP mean by them."""

import math

import pytest
import torch

from pipeline.errors import InputError
from pipeline.frames import (
    cam_from_world_from_gl_pose,
    cam_from_world_from_llff_pose,
    check_rigid,
    clip_from_cam,
    direction_from_equirect_uv,
    equirect_uv_from_direction,
    gl_pose_from_cam_from_world,
    rotation_to_y_up,
    upright_cam_from_stored_cam,
)

X, Y, Z = torch.eye(3, dtype=torch.float64)


def random_rigid(count: int) -> torch.Tensor:
    """Proper rigid transforms: rotations from QR, translations of a few units."""
    rotation, _ = torch.linalg.qr(torch.randn(count, 3, 3, dtype=torch.float64))
    rotation[:, :, 0] *= torch.linalg.det(rotation)[:, None]
    transform = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    transform[:, :3, :3] = rotation
    transform[:, :3, 3] = 3 * torch.randn(count, 3, dtype=torch.float64)
    return transform


def directions(count: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(count, 3, dtype=torch.float64), dim=-1)


def test_gl_poses_invert() -> None:
    cam_from_world = random_rigid(50)
    back = cam_from_world_from_gl_pose(gl_pose_from_cam_from_world(cam_from_world))
    torch.testing.assert_close(back, cam_from_world, atol=1e-12, rtol=0)


def test_gl_pose_has_opengl_axes() -> None:
    """NeRF and glTF: the columns of a pose are the camera's right, up and backward; the last is its centre."""
    cam_from_world = random_rigid(20)
    world_from_gl_cam = gl_pose_from_cam_from_world(cam_from_world)
    right, down, forward = cam_from_world[:, :3, :3].unbind(1)
    torch.testing.assert_close(world_from_gl_cam[:, :3, 0], right)
    torch.testing.assert_close(world_from_gl_cam[:, :3, 1], -down)
    torch.testing.assert_close(world_from_gl_cam[:, :3, 2], -forward)
    center = world_from_gl_cam[:, :3, 3:]
    in_camera = cam_from_world[:, :3, :3] @ center + cam_from_world[:, :3, 3:]
    torch.testing.assert_close(in_camera, torch.zeros_like(in_camera), atol=1e-12, rtol=0)


def test_llff_pose_has_llffs_axes() -> None:
    """The columns of LLFF's poses are the camera's down, right and backward; the last is its centre."""
    cam_from_world = random_rigid(20)
    right, down, forward = cam_from_world[:, :3, :3].unbind(1)
    world_from_llff_cam = torch.linalg.inv(cam_from_world)
    world_from_llff_cam[:, :3, :3] = torch.stack([down, right, -forward], dim=2)
    torch.testing.assert_close(cam_from_world_from_llff_pose(world_from_llff_cam), cam_from_world, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("orientation", "right", "down"),
    [(1, [1, 0, 0], [0, 1, 0]), (3, [-1, 0, 0], [0, -1, 0]), (6, [0, 1, 0], [-1, 0, 0]), (8, [0, -1, 0], [1, 0, 0])],
)
def test_turning_upright_follows_exif(orientation: int, right: list[int], down: list[int]) -> None:
    """EXIF 2.32, tag 274: orientation 6 has the stored row 0 on the right side, so stored right points down, etc."""
    turn = upright_cam_from_stored_cam(orientation)
    assert turn[:, 0].tolist() == right and turn[:, 1].tolist() == down
    assert float(torch.linalg.det(turn)) == 1


@pytest.mark.parametrize("orientation", [0, 2, 4, 5, 7, 9])
def test_mirror_images_have_no_camera(orientation: int) -> None:
    with pytest.raises(InputError, match=f"mirror image .EXIF orientation {orientation}."):
        upright_cam_from_stored_cam(orientation)


def test_conversions_stay_right_handed() -> None:
    poses = gl_pose_from_cam_from_world(random_rigid(20))
    torch.testing.assert_close(torch.linalg.det(poses[:, :3, :3]), torch.ones(20, dtype=torch.float64))
    check_rigid(poses, "a pose")


def test_check_rigid_accepts_float32_rounding() -> None:
    check_rigid(random_rigid(100).float(), "a pose")
    check_rigid(torch.zeros(0, 4, 4), "no pose")


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        ((1.0, 1.0, -1.0), r"det -1\.000"),  # mirrored
        ((2.0, 2.0, 2.0), "orthonormal to"),  # a similarity
        ((1.0, 1.0, 1.01), "orthonormal to"),  # ten times the limit
        ((1.0, math.nan, 1.0), "not finite"),
    ],
)
def test_check_rigid_refuses_with_a_remedy(scale: tuple[float, ...], message: str) -> None:
    poses = random_rigid(3)
    poses[1, :3, :3] *= torch.tensor(scale, dtype=torch.float64)
    with pytest.raises(InputError, match=message) as caught:
        check_rigid(poses, "the pose of a.jpg")
    assert "the pose of a.jpg" in str(caught.value)
    assert caught.value.remedy


def test_clip_space_has_row_0_on_top_and_z_growing() -> None:
    width, height, near, far = 640, 480, 0.5, 8.0
    K = torch.tensor([[500.0, 3.0, 310.0], [0.0, 510.0, 250.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    clip = clip_from_cam(K, size_px=(width, height), near=near, far=far)

    def ndc(pixel: tuple[float, float], depth: float) -> torch.Tensor:
        ray = torch.linalg.solve(K, torch.tensor([*pixel, 1.0], dtype=torch.float64))
        point = clip @ torch.cat([ray * depth, torch.ones(1, dtype=torch.float64)])
        assert float(point[3]) == pytest.approx(depth)  # w is the depth: interpolation is perspective-correct
        return point[:3] / point[3]

    corners = {(0, 0): (-1, -1), (width, 0): (1, -1), (0, height): (-1, 1), (width, height): (1, 1)}
    for pixel, expected in corners.items():
        assert ndc(pixel, 2.0)[:2].tolist() == pytest.approx(expected, abs=1e-12)
    assert float(ndc((100, 100), near)[2]) == pytest.approx(-1, abs=1e-12)
    assert float(ndc((100, 100), far)[2]) == pytest.approx(1, abs=1e-12)


def test_clip_from_cam_takes_batches() -> None:
    K = torch.eye(3).repeat(2, 5, 1, 1) * 100
    assert clip_from_cam(K, size_px=(64, 48), near=0.1, far=10.0).shape == (2, 5, 4, 4)


def test_rotation_to_y_up_is_the_shortest_rotation() -> None:
    for up in (*directions(30), X, Y, Z, -X, -Y, -Z):
        rotation = rotation_to_y_up(up)
        torch.testing.assert_close(rotation @ up, Y, atol=1e-9, rtol=0)
        torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3, dtype=torch.float64), atol=1e-9, rtol=0)
        assert float(torch.linalg.det(rotation)) == pytest.approx(1.0, abs=1e-9)
        cos_angle = (float(torch.trace(rotation)) - 1) / 2
        assert cos_angle == pytest.approx(float(up[1]), abs=1e-9)  # turned by the angle between up and +Y, no more


def test_rotation_to_y_up_ignores_length_and_precision() -> None:
    torch.testing.assert_close(rotation_to_y_up(5 * Z.float()), rotation_to_y_up(Z))


def test_z_up_becomes_y_up_as_in_gltf() -> None:
    point = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    torch.testing.assert_close(rotation_to_y_up(Z) @ point, torch.tensor([1.0, 3.0, -2.0], dtype=torch.float64))


def test_rotation_to_y_up_stays_a_rotation_next_to_down() -> None:
    for tilt in (1e-3, 1e-4, 1e-5, 1e-6, 1e-8):
        up = torch.nn.functional.normalize(-Y + tilt * X, dim=0)
        transform = torch.eye(4, dtype=torch.float64)
        transform[:3, :3] = rotation_to_y_up(up)
        check_rigid(transform, "the rotation")
        torch.testing.assert_close(transform[:3, :3] @ up, Y, atol=1e-4, rtol=0)


def test_equirect_coordinates_invert() -> None:
    d = directions(1000)
    torch.testing.assert_close(direction_from_equirect_uv(equirect_uv_from_direction(d)), d, atol=1e-6, rtol=0)
    torch.testing.assert_close(equirect_uv_from_direction(7 * d), equirect_uv_from_direction(d))


@pytest.mark.parametrize(
    ("direction", "uv"),
    [
        (X, (0.5, 0.5)),  # the middle of the map
        (Z, (0.75, 0.5)),
        (-Z, (0.25, 0.5)),
        (torch.tensor([0.0, 1.0, 1e-9], dtype=torch.float64), (0.75, 0.0)),  # the top row is +Y
        (torch.tensor([0.0, -1.0, 1e-9], dtype=torch.float64), (0.75, 1.0)),
    ],
)
def test_equirect_orientation_is_that_of_three_js(direction: torch.Tensor, uv: tuple[float, float]) -> None:
    """three.js, `equirectUv` in its chunk `common`: u = atan(z, x) / 2 pi + 1/2, v = asin(y) / pi + 1/2 and up."""
    assert equirect_uv_from_direction(direction).tolist() == pytest.approx(uv, abs=1e-6)


def test_equirect_areas_add_up_to_the_sphere() -> None:
    """The directions of a map's texels, weighted with sin(theta), average to zero and span 4 pi."""
    height, width = 64, 128
    v, u = torch.meshgrid((torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing="ij")
    d = direction_from_equirect_uv(torch.stack([u, v], -1).double())
    solid_angle = (1 - d[..., 1:2] ** 2).sqrt() * (math.pi / height) * (2 * math.pi / width)
    assert float(solid_angle.sum()) == pytest.approx(4 * math.pi, rel=1e-3)  # midpoint rule: (pi / 64)^2 / 24
    torch.testing.assert_close((d * solid_angle).sum((0, 1)), torch.zeros(3, dtype=torch.float64), atol=1e-9, rtol=0)
