"""The joint fit from a random start finds a ball, loses the bits around it, and repeats itself bit by bit."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.config import GeometryConfig, RuntimeConfig
from pipeline.errors import CaptureError, UsageError
from pipeline.losses import sign_loss
from pipeline.runtime import make_runtime
from pipeline.scene import Camera, Capture, View
from pipeline.stages import geometry, geometry_joint
from pipeline.stages.geometry_joint import JointFit
from pipeline.stages.geometry_joint_photos import Photos, read_photos
from tests.shapes import cameras_around, sphere_mask
from tests.stage_context import make_context, posed, run_until

CONFIG = GeometryConfig(
    method="joint", grid_resolution=17, joint_steps=120, joint_batch_views=4, joint_px=32, max_faces=20_000
)
BOX = torch.tensor([[-1.3] * 3, [1.3] * 3], dtype=torch.float64)


def photos_of_ball(views: int = 12, size: int = 32) -> Photos:
    """A ball of radius 1, orange above and blue below."""
    cameras = cameras_around(views, size_px=size, focal_px=1.3 * size)
    alpha = torch.stack([torch.from_numpy(sphere_mask(camera)) for camera in cameras])
    upper = (torch.arange(size) < size // 2).float()[:, None, None]
    color = upper * torch.tensor([0.5, 0.3, 0.1]) + (1 - upper) * torch.tensor([0.1, 0.2, 0.4])
    return Photos(
        color=color.expand(views, size, size, 3).contiguous(),
        alpha=alpha,
        known=torch.ones_like(alpha),
        K=torch.stack([camera.K for camera in cameras]),
        cam_from_world=torch.stack([camera.cam_from_world for camera in cameras]),
        light_from_world=torch.eye(3).expand(views, 3, 3),
        light_index=torch.zeros(views, dtype=torch.long),
    )


def make_fit(config: GeometryConfig = CONFIG, seed: int = 0) -> JointFit:
    return JointFit(photos_of_ball(), BOX, config, make_runtime(RuntimeConfig(device="cpu", seed=seed)))


def overlap(fit: JointFit) -> float:
    """Intersection over union of the grid's inner points with those of the ball."""
    points = fit.grid.positions(torch.arange(len(fit.sdf)))
    true, found = points.norm(dim=1) < 1, fit.sdf.detach() < 0
    return float((true & found).sum() / (true | found).sum())


@pytest.fixture(scope="module")
def ball_capture(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    """Six photos of the ball, 64 x 48 pixels."""
    folder, views = tmp_path_factory.mktemp("ball"), []
    for k, square in enumerate(cameras_around(6, size_px=64, focal_px=83.0)):
        mask = (sphere_mask(square)[8:56] * 255).round().astype(np.uint8)
        Image.fromarray(mask).save(folder / f"{k}_mask.png")
        Image.fromarray(np.stack([mask, mask // 2, mask // 4], -1)).save(folder / f"{k}.png")
        K = square.K - torch.tensor([[0, 0, 0], [0, 0, 8.0], [0, 0, 0]], dtype=torch.float64)
        views.append(
            View(
                name=f"{k}.png",
                image_path=folder / f"{k}.png",
                mask_path=folder / f"{k}_mask.png",
                camera=Camera(K=K, cam_from_world=square.cam_from_world, width=64, height=48),
                exposure=torch.ones(3),
                light_from_world=torch.eye(4),
            )
        )
    return replace(posed(views), object_box=BOX)


@pytest.fixture(scope="module")
def fitted() -> JointFit:
    fit = make_fit()
    for _ in range(CONFIG.joint_steps):
        fit.advance()
    return fit


def test_a_random_start_becomes_the_ball(fitted: JointFit) -> None:
    assert overlap(make_fit()) < 0.15
    assert overlap(fitted) > 0.5  # measured .68
    vertices, faces = fitted.mesh()
    off = (vertices[faces].mean(1).norm(dim=1) - 1).abs()
    start = make_fit().mesh()
    assert float(off.mean()) < 0.5 * float((start[0][start[1]].mean(1).norm(dim=1) - 1).abs().mean())


def test_the_paint_is_found_with_the_shape(fitted: JointFit) -> None:
    """Orange above, blue below, at the surface."""
    points = fitted.grid.positions(torch.arange(len(fitted.sdf)))
    near = (points.norm(dim=1) - 1).abs() < 0.1
    paint = torch.sigmoid(fitted.material.detach()[:, :3])
    upper, lower = paint[near & (points[:, 1] > 0.4)].mean(0), paint[near & (points[:, 1] < -0.4)].mean(0)
    assert float(upper[0] / upper[2]) > 1.3 * float(lower[0] / lower[2])


def test_the_sign_loss_alone_removes_floating_bits() -> None:
    """A field of which one point of ten is inside, without any photos."""
    fit = make_fit()
    optimizer = torch.optim.Adam([fit.sdf], lr=0.01)
    first = len(fit._crossing().vertices)
    for _ in range(60):
        optimizer.zero_grad()
        sign_loss(fit._crossing().sdf_ends).backward()
        optimizer.step()
        with torch.no_grad():
            fit.sdf[0] = -0.1  # one bit that stays, as a surface without a face is an error
    assert first > 5000
    assert len(fit._crossing().vertices) < 0.1 * first  # measured .037


def test_a_stopped_fit_continues_as_if_never_stopped(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geometry_joint, "CHECKPOINT_STEPS", 4)
    config = replace(CONFIG, joint_steps=10)

    def run(path, stop: int) -> JointFit:
        fit = make_fit(config, seed=3)
        run_until(fit, path, stop)
        return fit

    whole = run(tmp_path / "whole", stop=99)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", stop=6)
    resumed = run(tmp_path / "stopped", stop=99)
    for name in ("sdf", "shift", "material", "light"):
        assert torch.equal(getattr(resumed, name), getattr(whole, name)), name
    assert not torch.equal(make_fit(config, seed=4).sdf, make_fit(config, seed=3).sdf)


def test_a_vanished_surface_is_an_error() -> None:
    fit = make_fit()
    fit.sdf.data.fill_(1)
    with pytest.raises(CaptureError, match="no surface is left after 0 steps"):
        fit.advance()


def test_the_stage_makes_a_mesh_of_photos_that_are_not_square(tmp_path, ball_capture) -> None:
    context, _ = make_context(tmp_path)
    mesh = geometry.shape(ball_capture, None, replace(CONFIG, joint_steps=3), context)
    assert len(mesh.faces) > 1000
    assert float(mesh.vertices.abs().max()) < 1.5
    photos = read_photos(ball_capture, size_px=32, device=torch.device("cpu"), progress=lambda part, note: None)
    assert photos.alpha.shape == (6, 32, 32)
    assert float(photos.known.mean()) == 0.75
    assert float(photos.alpha[:, 24:].max()) == 0
    geometry.STAGE.save(mesh, tmp_path)
    assert torch.equal(geometry.STAGE.load(tmp_path).vertices, mesh.vertices)
    assert not (tmp_path / "checkpoint.safetensors").exists()


def test_several_lights_are_refused(tmp_path, ball_capture) -> None:
    views = [replace(view, light_index=k % 2) for k, view in enumerate(ball_capture.views)]
    with pytest.raises(UsageError, match="fits 1 light, not 2"):
        geometry.shape(replace(ball_capture, views=tuple(views)), None, CONFIG, make_context(tmp_path)[0])
