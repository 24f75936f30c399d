"""Narrow-band DMTet: a hollow that no outline shows is carved, nothing grows outside, and a stopped fit goes on."""

from dataclasses import replace

import pytest
import torch

from pipeline.config import GeometryConfig, RuntimeConfig
from pipeline.errors import CaptureError
from pipeline.geometry.marching_tetrahedra import marching_tetrahedra
from pipeline.geometry.normals import vertex_normals
from pipeline.raster.cpu.backend import CpuRasterizer
from pipeline.raster.gbuffer import render_gbuffer
from pipeline.runtime import make_runtime
from pipeline.scene import Camera, Mesh
from pipeline.shading.octahedral import texel_directions, texel_solid_angles
from pipeline.stages import geometry_dmtet
from pipeline.stages.geometry_dmtet import BandFit
from pipeline.stages.geometry_joint_photos import Photos
from tests.shapes import cameras_around, grid, points
from tests.stage_context import run_until

CONFIG = GeometryConfig(dmtet_steps=160, joint_batch_views=4, joint_px=64)
GRID = grid(33)
CELL = GRID.spacing
LAMP = torch.nn.functional.normalize(torch.tensor([0.4, 0.7, 0.6]), dim=0)


def ball() -> torch.Tensor:
    """Its outlines are those of the bowl in it."""
    return points(GRID).norm(dim=-1).float() - 1


def bowl() -> torch.Tensor:
    """The ball with a round hollow at the side of +x."""
    hollow = 0.6 - (points(GRID).float() - torch.tensor([1.3, 0, 0])).norm(dim=-1)
    return torch.maximum(ball(), hollow)


def paint(at: torch.Tensor) -> torch.Tensor:
    """Blotches of two colours throughout the object."""
    share = torch.sigmoid(8 * torch.sin(7 * at).prod(-1, keepdim=True))
    return share * torch.tensor([0.7, 0.35, 0.1]) + (1 - share) * torch.tensor([0.1, 0.25, 0.5])


def antialiased(mesh: Mesh, camera: Camera) -> tuple[torch.Tensor, torch.Tensor]:
    """Colour and coverage, averaged over 4 x 4 samples a pixel."""
    size, samples = camera.width, 4
    normals = vertex_normals(mesh.vertices, mesh.faces)
    buffer = render_gbuffer(CpuRasterizer(), mesh, normals, camera.resized(size * samples, size * samples))
    shown = buffer.mask[0, ..., None].float()
    light = 0.5 + 0.8 * (buffer.normal[0] @ LAMP).clamp_min(0)[..., None]
    sums = torch.cat([shown * light * paint(buffer.position[0]), shown], -1)
    sums = sums.reshape(size, samples, size, samples, 4).mean((1, 3))
    return sums[..., :3] / sums[..., 3:].clamp_min(1e-6), sums[..., 3]


@pytest.fixture(scope="module")
def photos() -> Photos:
    """The bowl from 24 sides under an even light and a lamp."""
    vertices, faces = marching_tetrahedra(bowl(), GRID)
    mesh = Mesh(vertices=vertices.float(), faces=faces)
    cameras = cameras_around(24, size_px=64, focal_px=83.0)
    rows = [antialiased(mesh, camera) for camera in cameras]
    color, alpha = (torch.stack(column) for column in zip(*rows, strict=True))
    return Photos(
        color=color,
        alpha=alpha,
        known=torch.ones_like(alpha),
        K=torch.stack([camera.K for camera in cameras]),
        cam_from_world=torch.stack([camera.cam_from_world for camera in cameras]),
        light_from_world=torch.eye(3).expand(24, 3, 3),
        light_index=torch.zeros(24, dtype=torch.long),
    )


def make_fit(
    photos: Photos, config: GeometryConfig = CONFIG, start: torch.Tensor | None = None, *, hard: bool = True
) -> BandFit:
    runtime = make_runtime(RuntimeConfig(device="cpu"))
    return BandFit(photos, GRID, ball() if start is None else start, ball(), config, runtime, hard=hard)


def run(fit: BandFit) -> BandFit:
    while fit.step < fit.config.dmtet_steps:
        fit.advance()
    return fit


@pytest.fixture(scope="module")
def fitted(photos: Photos) -> BandFit:
    return run(make_fit(photos))


def missing(distances: torch.Tensor) -> float:
    """Of the hollow's points, the share that is still inside."""
    hollow = (ball() < 0) & (bowl() > 0)
    return float(((distances < 0) & hollow).sum() / hollow.sum())


def way_off(distances: torch.Tensor) -> float:
    """Mean distance in cells from the surface's vertices to the bowl's."""
    true, _ = marching_tetrahedra(bowl(), GRID)
    found, _ = marching_tetrahedra(distances, GRID)
    return float(torch.cdist(found.double(), true.double()).amin(1).mean()) / CELL


def test_a_hollow_that_no_outline_shows_is_carved(fitted: BandFit) -> None:
    found = fitted.distances()
    elsewhere = (points(GRID)[..., 0] < 0.2) & (bowl() < -CELL)
    assert missing(ball()) == 1
    assert missing(found) < 0.4  # measured .21
    assert float((found[elsewhere] < 0).float().mean()) > 0.999
    assert way_off(found) < 0.8 * way_off(ball())  # measured .62


def test_nothing_grows_outside_of_a_hull_that_is_trusted(photos: Photos) -> None:
    """A start with an island and a swelling beside the ball."""
    at = points(GRID).float()
    island = (at - torch.tensor([-0.9, 0.9, 0])).norm(dim=-1) - 0.2
    swollen = torch.minimum(ball() - 0.5 * CELL, island)
    config = replace(CONFIG, dmtet_steps=8)
    hard, soft = (run(make_fit(photos, config, swollen, hard=hard)).distances() for hard in (True, False))
    outside = ball() > geometry_dmtet.OUTSIDE * CELL
    assert float(swollen[outside].min()) < -0.1
    assert float(hard[outside].min()) > 0
    assert float(soft[outside].min()) < 0  # it may be wrong: it only pays


def test_the_surface_waits_for_material_and_light(photos: Photos) -> None:
    fit = make_fit(photos)
    for _ in range(round(geometry_dmtet.WARM_UP * CONFIG.dmtet_steps)):
        fit.advance()
    assert torch.equal(fit.distances(), ball())
    assert not torch.equal(fit.material[:, 0], make_fit(photos).material[:, 0])
    fit.advance()
    assert not torch.equal(fit.distances(), ball())
    far = ball().abs() > (geometry_dmtet.BAND + 3) * geometry_dmtet.STRIDES[0] * CELL
    assert torch.equal(fit.distances()[far], ball()[far])


def test_a_stopped_fit_continues_as_if_never_stopped(tmp_path, photos: Photos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geometry_dmtet, "CHECKPOINT_STEPS", 2)
    config = replace(CONFIG, dmtet_steps=16)

    def go(path, stop: int) -> BandFit:
        fit = make_fit(photos, config)
        run_until(fit, path, stop)
        return fit

    whole = go(tmp_path / "whole", stop=99)
    for stop in (7, 11, 15):  # on the first grid, between the two, on the second
        with pytest.raises(KeyboardInterrupt):
            go(tmp_path / "stopped", stop=stop)
        resumed = go(tmp_path / "stopped", stop=99)
        assert torch.equal(resumed.distances(), whole.distances())
        assert resumed.recent_loss == whole.recent_loss
        assert not (tmp_path / "stopped").exists()


def brightest(fit: BandFit) -> torch.Tensor:
    """The mean direction of a fit's first light."""
    directions, angles = texel_directions(geometry_dmtet.LIGHT_PX), texel_solid_angles(geometry_dmtet.LIGHT_PX)
    weight = fit.lights.detach()[0].exp().mean(-1).double() * angles
    return torch.nn.functional.normalize((weight[:, None] * directions).sum(0), dim=0)


def test_the_light_stands_still_while_the_object_turns(photos: Photos) -> None:
    """In its own frame the lamp is where it is in the object's, turned by a half."""
    half = torch.diag(torch.tensor([-1.0, 1, -1]))  # not a frame flip: half a turn about y
    config = replace(CONFIG, dmtet_steps=48)  # the surface waits for the first quarter of them
    still, turned = make_fit(photos, config), make_fit(replace(photos, light_from_world=half.expand(24, 3, 3)), config)
    for fit in (still, turned):
        for _ in range(12):
            fit.advance()
    assert float(brightest(still) @ LAMP.double()) > 0.7
    assert torch.allclose(brightest(turned), half.double() @ brightest(still), atol=0.02)


def test_each_step_takes_photos_of_one_light(photos: Photos) -> None:
    """Of two passes the second is half as bright."""
    second = torch.arange(24) % 2  # numbered 0 and 2
    dimmed = photos.color * torch.where(second == 1, 0.5, 1.0)[:, None, None, None]
    fit = make_fit(replace(photos, color=dimmed, light_index=2 * second))
    for _ in range(40):
        fit.advance()
    first, other = fit.lights.detach().exp().mean((1, 2))
    assert float(other / first) < 0.75


def test_what_is_told_far_from_the_surface_does_not_matter(photos: Photos) -> None:
    """A hull's distances end three cells outside, and are one cell where few photos look."""
    exact = bowl()
    cut = torch.where(exact > 1.5 * CELL, torch.full_like(exact, CELL), exact)
    fits = [make_fit(photos, start=start) for start in (exact, cut)]
    assert torch.equal(fits[0]._band.index, fits[1]._band.index)
    assert 0.05 < len(fits[0]._band.index) / fits[0].correction.numel() < 0.9


def test_a_vanished_surface_is_an_error(photos: Photos) -> None:
    fit = make_fit(photos, start=torch.ones_like(ball()))
    with pytest.raises(CaptureError, match="no surface is left after 0 steps"):
        fit.advance()
