"""The preview: the light as its tile shows it, and pictures of a fit that works undisturbed by them."""

import dataclasses

import numpy as np
import pytest
import torch

from pipeline.config import AppearanceConfig
from pipeline.formats import images
from pipeline.preview import LINE, PreviewRow, draw_preview
from pipeline.raster.cpu.backend import CpuRasterizer
from pipeline.scene import Asset, Environment, Mesh, View
from pipeline.shading.octahedral import octahedral_from_direction, texel_directions
from pipeline.stages import appearance_fit
from pipeline.stages.appearance import fit_appearance
from pipeline.stages.appearance_fit import AppearanceFit
from pipeline.stages.appearance_pixels import PixelSource
from pipeline.stages.appearance_preview import TILE_PX, LivePreview
from tests.shapes import camera_at, cameras_around, sphere
from tests.stage_context import make_context, posed

CONFIG = AppearanceConfig(texture_px=64, steps=20, batch_px=512, light_map_px=32, metal_search=False)


def test_the_light_is_shown_all_around_and_as_a_mirror_ball_sees_it():
    """A lamp at +X: right of the map's middle column (+X), and mirrored to the side where the camera has +X."""
    tile = 100
    near = (texel_directions(32) @ torch.tensor([1.0, 0.0, 0.0]) > 0.95).float()
    light = Environment(coefficients=near[:, None].expand(-1, 3) * 50, basis="octahedral")

    def brightest(camera, turn):
        empty = torch.zeros(10, 10, 3)
        row = PreviewRow(
            photo=empty,
            mask=torch.ones(10, 10, dtype=torch.bool),
            color=empty,
            base_color=empty,
            normal=empty,
            roughness=empty[..., 0],
            metallic=empty[..., 0],
            camera=camera,
            light=light,
            light_from_world=turn,
        )
        shown = draw_preview([row], tile_px=tile)[round(LINE * tile) :, -tile:, 0].astype(int)
        ball = shown[tile // 2 :, tile // 4 : 3 * tile // 4]
        y, x = np.mgrid[:50, :50]
        lit = (ball > 200) & (np.hypot(x - 24.5, y - 24.5) < 20)
        around = np.argwhere(shown[: tile // 2] > 200).mean(0)
        return around, np.argwhere(lit).mean(0)

    still, turned = torch.eye(3), torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])  # the world's +Z lies at +X
    around, on_ball = brightest(camera_at((0.0, 0.0, 4.0)), still)
    np.testing.assert_allclose(around, (24.5, 49.5), atol=1.5)
    assert on_ball[1] > 35 and abs(on_ball[0] - 24.5) < 1.5  # +X is to the right of a camera in front
    around, on_ball = brightest(camera_at((0.0, 0.0, -4.0)), still)
    assert on_ball[1] < 14
    around, on_ball = brightest(camera_at((0.0, 0.0, 4.0)), turned)
    np.testing.assert_allclose(around, (24.5, 74.5), atol=1.5)
    np.testing.assert_allclose(on_ball, (24.5, 24.5), atol=1.5)  # behind the camera, in the ball's middle


@pytest.fixture(scope="module")
def ball(tmp_path_factory):
    """A capture of a ball in greys, and its mesh."""
    folder, views = tmp_path_factory.mktemp("photos"), []
    for k, camera in enumerate(cameras_around(6, distance=4.0, size_px=64, focal_px=90.0)):
        images.write_png(folder / f"{k}.png", np.full((64, 64, 3), 90 + 20 * k, np.uint8))
        still = torch.eye(4, dtype=torch.float64)
        views.append(
            View(
                name=f"{k}.png",
                image_path=folder / f"{k}.png",
                mask_path=None,
                camera=camera,
                exposure=torch.ones(3),
                light_from_world=still,
            )
        )
    vertices, faces = sphere(13)
    unit = torch.nn.functional.normalize(vertices.float(), dim=1)
    mesh = Mesh(vertices=unit, faces=faces, uvs=octahedral_from_direction(unit), uv_faces=faces)
    return posed(views), mesh


def test_pictures_of_a_fit_show_its_state_and_leave_it_alone(ball):
    capture, mesh = ball
    normals, rasterizer = mesh.vertices, CpuRasterizer()
    source = PixelSource(capture=capture, mesh=mesh, normals=normals, rasterizer=rasterizer, max_pixels=10**6)
    pixels = source.collect(lambda part, note: None)
    live = LivePreview(source)
    watched, alone = (AppearanceFit(pixels, CONFIG, texture_px=64, seed=0) for _ in range(2))
    pictures = []
    for _ in range(CONFIG.steps):
        pictures.append(live.draw(watched))
        watched.advance()
        alone.advance()
    assert torch.equal(watched.maps.bake(), alone.maps.bake())
    assert torch.equal(watched.environment.coefficients, alone.environment.coefficients)
    assert pictures[0].shape[1] == 7 * TILE_PX
    head = round(LINE * TILE_PX)
    first, last = (
        p[head : head + TILE_PX].reshape(TILE_PX, 7, TILE_PX, 3).astype(int) for p in (pictures[0], pictures[-1])
    )
    middle = TILE_PX // 2
    photo, render = last[middle, 0, middle], last[middle, 1, middle]
    assert abs(photo - first[middle, 1, middle]).max() > abs(photo - render).max() + 5


def test_a_stage_shows_pictures_evenly_over_its_steps(ball, tmp_path, monkeypatch):
    monkeypatch.setattr(appearance_fit, "TOLD_STEPS", 5)
    capture, mesh = ball
    context, _ = make_context(tmp_path)
    shown = []
    fit_appearance(capture, Asset(mesh=mesh), CONFIG, dataclasses.replace(context, show=shown.append))
    assert len(shown) == CONFIG.steps // 5
    assert not np.array_equal(shown[0], shown[-1])
