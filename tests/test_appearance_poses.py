"""Cameras refined against the fit: turned ones come back, exact ones stay, and an interrupted fit ends alike."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from pipeline.color import srgb_from_linear
from pipeline.config import AppearanceConfig
from pipeline.formats.images import write_mask, write_png
from pipeline.raster.cpu import CpuRasterizer
from pipeline.scene import Asset, Mesh, View
from pipeline.shading.octahedral import octahedral_from_direction
from pipeline.stages.appearance import fit_appearance
from pipeline.stages.appearance_pixels import PixelSource
from pipeline.stages.appearance_poses import _exponential, _logarithm, without_drift
from pipeline.stages.appearance_refine import SourceRefinement
from tests.shapes import cameras_around, pixel_rays, sphere, sphere_hits
from tests.stage_context import make_context, posed

VIEWS, SIZE_PX, FOCAL_PX = 10, 96, 172.0
TURN = 0.4 * torch.pi / 180
CONFIG = AppearanceConfig(
    texture_px=128,
    steps=60,
    batch_px=2048,
    light_map_px=32,
    shadows=False,
    metal_search=False,
    normal_map=False,
    parsimony=0.0,
    vertex_steps=0,
    checkpoint_steps=5,
)
CENTER = torch.zeros(3, dtype=torch.float64)


def photo(camera):
    """The unit ball with patterns of some ten pixels, under a soft light from above; and its coverage."""
    hits, along = sphere_hits(camera, samples=2)
    at = camera.camera_center + along[..., None] * pixel_rays(camera, samples=2)
    x, y, z = at.unbind(-1)
    waves = torch.stack([torch.sin(14 * x + 3 * y), torch.sin(12 * y - 5 * z), torch.sin(13 * z + 4 * x)], -1)
    color = (0.3 + 0.1 * waves + 0.1 * waves.prod(-1, keepdim=True)) * (0.8 + 0.3 * y[..., None])
    coverage = hits.float().mean(-1)
    mean = (color * hits[..., None]).sum(-2) / hits.sum(-1, keepdim=True).clamp_min(1)
    return mean.float(), coverage


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    """A capture of the ball with true poses."""
    folder, views = tmp_path_factory.mktemp("ball"), []
    for k, camera in enumerate(cameras_around(VIEWS, size_px=SIZE_PX, focal_px=FOCAL_PX)):
        color, coverage = photo(camera)
        image_path, mask_path = folder / f"{k:02d}.png", folder / f"{k:02d}_mask.png"
        write_png(image_path, (srgb_from_linear(color) * 255).round().byte().numpy())
        write_mask(mask_path, coverage)
        still = torch.eye(4, dtype=torch.float64)
        views.append(
            View(
                name=image_path.name,
                image_path=image_path,
                mask_path=mask_path,
                camera=camera,
                exposure=torch.ones(3),
                light_from_world=still,
            )
        )
    return posed(views)


@pytest.fixture(scope="module")
def blank():
    vertices, faces = sphere(33)
    unit = normalize(vertices.float(), dim=1)
    return Asset(mesh=Mesh(vertices=unit, faces=faces, uvs=octahedral_from_direction(unit), uv_faces=faces))


def poses_of(capture):
    return torch.stack([view.camera.cam_from_world for view in capture.views])


@pytest.fixture(scope="module")
def turned(exact):
    """The same photos, each camera turned by .4 degrees about an axis of its own."""
    axes = normalize(torch.randn(VIEWS, 3, generator=torch.Generator().manual_seed(1)).double(), dim=1)
    motions = torch.cat([torch.zeros_like(axes), TURN * axes], 1)
    return exact.posed(torch.stack([_exponential(m, CENTER) for m in motions]) @ poses_of(exact))


def off_px(capture, poses, blank):
    """Median over the views of how far the ball is from where it belongs in the photo, but for a common motion."""
    truth = poses_of(capture)
    poses = without_drift(truth, poses, CENTER)
    points = blank.mesh.vertices[::20]
    pairs = zip(capture.views, capture.posed(poses).views, strict=True)
    off = [(a.camera.project(points)[0] - b.camera.project(points)[0]).square().sum(1).mean().sqrt() for a, b in pairs]
    return float(torch.stack(off).median())


def fitted(capture, blank, folder, **settings):
    context, warnings = make_context(folder)
    asset = fit_appearance(capture, blank, replace(CONFIG, **settings), context)
    return asset, context.metrics, warnings


@pytest.fixture(scope="module")
def refined(turned, blank, tmp_path_factory):
    return fitted(turned, blank, tmp_path_factory.mktemp("refined"))


def test_turned_cameras_come_back_and_the_fit_gains(refined, exact, turned, blank, tmp_path):
    asset, figures, _ = refined
    before, after = off_px(exact, poses_of(turned), blank), off_px(exact, asset.cam_from_world, blank)
    assert before > 0.7
    assert after < 0.6 * before
    asset, without, _ = fitted(turned, blank, tmp_path, poses="off")
    assert asset.cam_from_world is None
    assert figures["photo_psnr"] > without["photo_psnr"] + 1
    assert 0.1 < figures["pose_drift_mean_deg"] < 0.6
    assert "pose_drift_mean_deg" not in without


def test_exact_cameras_stay(exact, blank, tmp_path):
    asset, figures, _ = fitted(exact, blank, tmp_path)
    assert asset.cam_from_world is None
    assert "pose_drift_max_px" not in figures


def test_a_fit_with_refined_cameras_continues_as_if_never_stopped(refined, turned, blank, tmp_path):
    """Stopped after the first round; the checkpoint has its poses, and the second is still to come."""
    context, _ = make_context(tmp_path)

    def progress(part, note):
        if note.startswith("step 20,"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_appearance(turned, blank, CONFIG, replace(context, progress=progress))
    assert (tmp_path / "checkpoint.safetensors").is_file()
    resumed, _, _ = fitted(turned, blank, tmp_path)
    assert torch.equal(resumed.cam_from_world, refined[0].cam_from_world)
    assert torch.equal(resumed.material.base_color, refined[0].material.base_color)
    assert torch.equal(resumed.environment.coefficients, refined[0].environment.coefficients)


def test_how_far_cameras_moved_is_told(exact, blank):
    poses = poses_of(exact).clone()
    poses[3] = _exponential(torch.tensor([0, 0, 0, 0, 0.0175, 0], dtype=torch.float64), CENTER) @ poses[3]
    source = PixelSource(
        capture=exact, mesh=blank.mesh, normals=blank.mesh.vertices, rasterizer=CpuRasterizer(), max_pixels=100_000
    )
    refinement = SourceRefinement(source, None, CONFIG, seed=0, progress=lambda part, note: None)
    assert refinement.cam_from_world is None
    refinement.source = replace(source, capture=exact.posed(poses))
    drift = refinement.drift()
    assert abs(drift.max_deg - 1.0027) < 1e-3
    assert abs(drift.mean_deg - drift.max_deg / VIEWS) < 1e-6
    assert drift.max_pct < 1e-9
    assert abs(drift.max_px - 0.0175 * FOCAL_PX) < 0.2  # of the middle of the picture
    assert drift.median_px == 0


def test_a_motion_of_all_views_is_taken_back(exact):
    poses = poses_of(exact)
    common = _exponential(torch.tensor([0.01, -0.02, 0.015, 0.01, 0.005, -0.02], dtype=torch.float64), CENTER)
    torch.testing.assert_close(without_drift(poses, poses @ common, CENTER), poses, atol=1e-9, rtol=0)
    farther = poses.clone()
    farther[:, :3, 3] *= 1.01
    torch.testing.assert_close(without_drift(poses, farther, CENTER), poses, atol=1e-9, rtol=0)


def test_logarithms_of_motions_lead_back():
    motion = torch.tensor([0.3, -0.1, 0.2, 0.4, -0.9, 0.3], dtype=torch.float64)
    center = torch.tensor([1.0, 2.0, -0.5], dtype=torch.float64)
    torch.testing.assert_close(_logarithm(_exponential(motion, center), center), motion)
    assert not _logarithm(torch.eye(4, dtype=torch.float64), center).any()
