"""The scene's values: cameras against pycolmap and OpenCV, and what they refuse."""

import dataclasses

import cv2
import numpy as np
import pycolmap
import pytest
import torch

from pipeline.errors import InputError
from pipeline.scene import Asset, Camera, Mesh

WIDTH, HEIGHT = 640, 480
FX, FY, CX, CY = 700.0, 690.0, 330.5, 228.25


def rigid(count: int) -> torch.Tensor:
    """Poses a few units away from the origin, looking roughly at it."""
    vectors = 0.3 * torch.randn(count, 3, dtype=torch.float64)
    transform = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    transform[:, :3, :3] = torch.from_numpy(np.stack([cv2.Rodrigues(v)[0] for v in vectors.numpy()]))
    transform[:, :3, 3] = torch.tensor([0.1, -0.2, 4.0]) + 0.3 * torch.randn(count, 3)
    return transform


def camera(cam_from_world: torch.Tensor) -> Camera:
    K = torch.tensor([[FX, 0.0, CX], [0.0, FY, CY], [0.0, 0.0, 1.0]], dtype=torch.float64)
    K = K.expand(*cam_from_world.shape[:-2], 3, 3)
    return Camera(K=K, cam_from_world=cam_from_world, width=WIDTH, height=HEIGHT)


@pytest.fixture
def points() -> torch.Tensor:
    return torch.rand(50, 3, dtype=torch.float64) * 2 - 1


def test_projection_agrees_with_pycolmap(points: torch.Tensor) -> None:
    """COLMAP's pixels are corner-based too, so there is no shift."""
    pose = rigid(1)[0]
    pixels, depth = camera(pose).project(points)
    colmap = pycolmap.Camera(model="PINHOLE", width=WIDTH, height=HEIGHT, params=[FX, FY, CX, CY])
    in_camera = pycolmap.Rigid3d(pose[:3].numpy()) * points.numpy()
    np.testing.assert_allclose(pixels.numpy(), colmap.img_from_cam(in_camera), atol=1e-9)
    np.testing.assert_allclose(depth.numpy(), in_camera[:, 2], atol=1e-12)


def test_projection_agrees_with_opencv(points: torch.Tensor) -> None:
    """OpenCV's pixels are centre-based: its principal point and its results are half a pixel less than ours."""
    pose = rigid(1)[0]
    pixels, _ = camera(pose).project(points)
    K = np.array([[FX, 0, CX - 0.5], [0, FY, CY - 0.5], [0, 0, 1]])
    rotation, _ = cv2.Rodrigues(pose[:3, :3].numpy())
    theirs, _ = cv2.projectPoints(points.numpy(), rotation, pose[:3, 3].numpy(), K, None)
    np.testing.assert_allclose(pixels.numpy(), theirs[:, 0] + 0.5, atol=1e-9)


def test_clip_space_agrees_with_projection(points: torch.Tensor) -> None:
    """A point's clip coordinates, scaled to the image, are its pixel: row 0 on top without a flip."""
    view = camera(rigid(1)[0])
    pixels, depth = view.project(points)
    clip = torch.nn.functional.pad(points, (0, 1), value=1.0) @ view.clip_from_world(near=1.0, far=10.0).mT
    size = torch.tensor([WIDTH, HEIGHT], dtype=torch.float64)
    torch.testing.assert_close((clip[:, :2] / clip[:, 3:] + 1) / 2 * size, pixels)
    torch.testing.assert_close(clip[:, 3], depth)
    assert bool(((clip[:, 2] / clip[:, 3]).abs() < 1).all())


def test_batches_agree_with_single_cameras(points: torch.Tensor) -> None:
    poses = rigid(4)
    pixels, depth = camera(poses).project(points)
    clip = camera(poses).clip_from_world(near=1.0, far=10.0)
    for i, pose in enumerate(poses):
        single_pixels, single_depth = camera(pose).project(points)
        torch.testing.assert_close(pixels[i], single_pixels)
        torch.testing.assert_close(depth[i], single_depth)
        torch.testing.assert_close(clip[i], camera(pose).clip_from_world(near=1.0, far=10.0))
        torch.testing.assert_close(camera(poses).camera_center[i], camera(pose).camera_center)
        torch.testing.assert_close(camera(poses).forward[i], camera(pose).forward)


def test_center_and_forward_are_in_the_world() -> None:
    view = camera(rigid(1)[0])
    ahead = (view.camera_center + 2.5 * view.forward)[None]
    pixels, depth = view.project(ahead)
    assert float(depth[0]) == pytest.approx(2.5)
    assert pixels[0].tolist() == pytest.approx([CX, CY])  # the axis meets the image in the principal point


@pytest.mark.parametrize(("width", "height"), [(320, 240), (1280, 960), (333, 97)])
def test_resizing_is_exact(points: torch.Tensor, width: int, height: int) -> None:
    view = camera(rigid(1)[0])
    pixels, depth = view.project(points)
    resized, resized_depth = view.resized(width, height).project(points)
    torch.testing.assert_close(resized, pixels * torch.tensor([width / WIDTH, height / HEIGHT]))
    torch.testing.assert_close(resized_depth, depth)
    torch.testing.assert_close(view.resized(width, height).resized(WIDTH, HEIGHT).K, view.K)


def test_resizing_agrees_with_resampling() -> None:
    """Halving an image by averaging 2x2 pixels moves a spot to where the halved camera sees it."""
    view = camera(torch.eye(4, dtype=torch.float64))
    image = np.zeros((HEIGHT, WIDTH), np.float32)
    image[101, 203] = 1.0
    direction = torch.tensor([[(203.5 - CX) / FX, (101.5 - CY) / FY, 1.0]], dtype=torch.float64)
    halved = cv2.resize(image, (WIDTH // 2, HEIGHT // 2), interpolation=cv2.INTER_AREA)
    row, column = np.unravel_index(halved.argmax(), halved.shape)
    pixel = view.resized(WIDTH // 2, HEIGHT // 2).project(direction)[0][0]
    assert pixel.floor().tolist() == [column, row]


def test_scaling_keeps_whole_pixels_and_the_field_of_view() -> None:
    view = camera(rigid(1)[0]).scaled(1 / 3)
    assert (view.width, view.height) == (213, 160)
    assert float(view.K[0, 0]) / view.width == pytest.approx(FX / WIDTH)
    tiny = camera(rigid(1)[0]).scaled(1e-6)
    assert (tiny.width, tiny.height) == (1, 1)


@pytest.mark.parametrize("focal", [0.0, -700.0, float("nan")])
def test_impossible_focal_lengths_are_refused(focal: float) -> None:
    K = torch.diag(torch.tensor([focal, 700.0, 1.0]))
    with pytest.raises(InputError, match="focal length"):
        Camera(K=K, cam_from_world=torch.eye(4), width=WIDTH, height=HEIGHT)


def test_mirrored_poses_are_refused() -> None:
    with pytest.raises(InputError, match="camera pose"):
        camera(torch.diag(torch.tensor([1.0, 1.0, -1.0, 1.0], dtype=torch.float64)))


def test_values_do_not_change_in_place() -> None:
    view = camera(rigid(1)[0])
    with pytest.raises(dataclasses.FrozenInstanceError):
        view.width = 1
    mesh = Mesh(vertices=torch.zeros(3, 3), faces=torch.tensor([[0, 1, 2]]))
    asset = Asset(mesh=mesh)
    assert asset.material is None
    assert dict(asset.provenance) == {}
    assert asset != Asset(mesh=mesh)  # identity: comparing tensors would be ambiguous
