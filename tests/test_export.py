"""The exported files of a tiny asset."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from pipeline.color import linear_from_srgb
from pipeline.config import ExportConfig
from pipeline.errors import InputError
from pipeline.formats import gltf, images
from pipeline.formats.radiance import read_hdr
from pipeline.formats.transforms_json import read_transforms
from pipeline.scene import Asset, Capture, Environment, Material, Mesh, View
from pipeline.shading.light_maps import equirect
from pipeline.shading.light_rotation import rotated
from pipeline.shading.octahedral import octahedral_from_direction
from pipeline.stages.export import FILES, TILE_PX, export, placement, publish
from tests.shapes import camera_at, sphere
from tests.stage_context import make_context

CENTER, SIZE = torch.tensor([0.4, -0.3, 0.2]), torch.tensor([0.8, 1.2, 0.6])  # of the egg, world units


@pytest.fixture(scope="module")
def asset():
    """A red egg off the origin."""
    vertices, faces = sphere(13)
    unit = vertices.float()
    mesh = Mesh(vertices=unit * SIZE / 2 + CENTER, faces=faces, uvs=octahedral_from_direction(unit), uv_faces=faces)
    color = torch.tensor([0.6, 0.2, 0.1]).expand(64, 64, 3).contiguous()
    material = Material(base_color=color, orm=torch.tensor([1.0, 0.5, 0.0]).expand(64, 64, 3).contiguous())
    light = Environment(coefficients=torch.rand(32 * 32, 3), basis="octahedral")
    return Asset(mesh=mesh, material=material, environment=light)


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    folder, views = tmp_path_factory.mktemp("photos"), []
    for k, center in enumerate([(2.0, 1.0, 2.5), (-2.5, 0.5, 1.0), (0.5, 2.0, -2.5)]):
        camera = camera_at(center, size_px=48, focal_px=60.0, target=CENTER.tolist())
        path = folder / f"{k}.png"
        images.write_png(path, np.full((48, 48, 3), 200, np.uint8))
        views.append(
            View(
                name=path.name,
                image_path=path,
                mask_path=None,
                camera=camera,
                exposure=torch.ones(3),
                light_from_world=torch.eye(4, dtype=torch.float64),
            )
        )
    box = torch.stack([CENTER - 1, CENTER + 1]).double()
    similarity = torch.diag(torch.tensor([2.0, 2.0, 2.0, 1.0], dtype=torch.float64))
    nothing = torch.zeros(0, 3)
    return Capture(
        views=tuple(views),
        points=nothing,
        point_colors=nothing,
        object_box=box,
        world_from_input=similarity,
        metres_per_unit=None,
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory, asset, capture):
    context, warnings = make_context(tmp_path_factory.mktemp("export"))
    result = export(capture, asset, ExportConfig(light_height_px=32, preview_views=2), context)
    assert warnings == []
    return result


def placed(points, matrix):
    return points.double() @ matrix[:3, :3].mT + matrix[:3, 3]


def test_placement_puts_the_bottom_centre_at_the_origin_at_unit_size(asset):
    vertices = placed(asset.mesh.vertices, placement(asset, None))
    low, high = vertices.amin(0), vertices.amax(0)
    torch.testing.assert_close((high - low).max(), torch.tensor(1.0, dtype=torch.float64))
    torch.testing.assert_close(low[1], torch.tensor(0.0, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close((low + high)[[0, 2]], torch.zeros(2, dtype=torch.float64), atol=1e-9, rtol=0)


def test_a_known_scale_gives_metres(asset):
    matrix = placement(asset, 0.25)
    vertices = placed(asset.mesh.vertices, matrix)
    size = asset.mesh.vertices.amax(0) - asset.mesh.vertices.amin(0)
    torch.testing.assert_close((vertices.amax(0) - vertices.amin(0)).float(), 0.25 * size)
    torch.testing.assert_close(matrix[:3, :3], 0.25 * torch.eye(3, dtype=torch.float64))  # nothing turns


def test_all_files_are_there(exported, tmp_path):
    assert all((exported.folder / name).is_file() for name in FILES)
    assert len(list((exported.folder / "render").glob("*.png"))) == 2
    publish(exported, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(FILES)


def test_the_glb_is_the_placed_asset(exported, asset):
    again = gltf.read_gltf(exported.folder / "asset.glb").asset
    expected = placed(asset.mesh.vertices, placement(asset, None)).float()
    torch.testing.assert_close(again.mesh.vertices.amin(0), expected.amin(0), atol=1e-6, rtol=0)
    torch.testing.assert_close(again.mesh.vertices.amax(0), expected.amax(0), atol=1e-6, rtol=0)
    assert len(again.mesh.faces) == len(asset.mesh.faces)
    torch.testing.assert_close(again.material.base_color, asset.material.base_color, atol=0.01, rtol=0)  # 8 bits, sRGB


def test_cameras_move_with_the_asset(exported, asset, capture):
    """The placed vertices fall on the same pixels through the placed cameras."""
    vertices = placed(asset.mesh.vertices, placement(asset, None))
    frames = read_transforms(exported.folder / "cameras.json")
    assert [frame.file_path for frame in frames] == [view.name for view in capture.views]
    for view, frame in zip(capture.views, frames, strict=True):
        before, depth = view.camera.project(asset.mesh.vertices)
        after, placed_depth = frame.camera.project(vertices)
        torch.testing.assert_close(after, before, atol=1e-4, rtol=0)  # float32 vertices of some 50 px
        torch.testing.assert_close(placed_depth, depth * placement(asset, None)[0, 0], rtol=1e-6, atol=0)


def test_cameras_that_the_fit_refined_are_the_ones_exported(asset, capture, tmp_path):
    refined = torch.stack([view.camera.cam_from_world for view in capture.views])
    refined[1, :3, 3] += torch.tensor([0.02, -0.01, 0.03])
    context, _ = make_context(tmp_path)
    known = dataclasses.replace(asset, cam_from_world=refined)
    folder = export(capture, known, ExportConfig(light_height_px=32, preview_views=1), context).folder
    for pose, frame in zip(refined, read_transforms(folder / "cameras.json"), strict=True):
        camera = dataclasses.replace(capture.views[0].camera, cam_from_world=pose).moved(placement(asset, None))
        torch.testing.assert_close(frame.camera.camera_center, camera.camera_center)


def test_renders_are_exposed_like_the_photos(exported, asset, capture, tmp_path):
    context, _ = make_context(tmp_path)
    gains = torch.tensor([0.5, 0.5, 0.5])[:, None].expand(-1, 3)
    darker = dataclasses.replace(asset, exposure=gains)
    folder = export(capture, darker, ExportConfig(light_height_px=32, preview_views=1), context).folder
    name = next((folder / "render").iterdir()).name
    before, after = (torch.tensor(images.read_image(f / "render" / name)) for f in (exported.folder, folder))
    before, after = (linear_from_srgb(picture[..., :3] / 255)[picture[..., 0] > 0] for picture in (before, after))
    assert after.mean() / before.mean() == pytest.approx(0.5, abs=0.02)


def test_placement_is_told_for_both_worlds(exported, asset, capture):
    told = json.loads((exported.folder / "placement.json").read_text())
    matrix = placement(asset, None)
    torch.testing.assert_close(torch.tensor(told["asset_from_world"], dtype=torch.float64), matrix)
    from_input = torch.tensor(told["asset_from_input"], dtype=torch.float64)
    torch.testing.assert_close(from_input, matrix @ capture.world_from_input)
    assert "unknown" in told["scale"]


def test_the_light_map_holds_the_light(exported, asset):
    picture = read_hdr(exported.folder / "light.hdr")
    assert picture.shape == (32, 64, 3)
    expected = equirect(asset.environment, 32)
    torch.testing.assert_close(picture, expected, atol=float(expected.max()) / 256, rtol=0)  # RGBE


def test_views_of_a_turntable_are_rendered_under_the_light_as_it_was_turned(tmp_path, exported, asset, capture):
    turn = torch.eye(4, dtype=torch.float64)
    turn[:3, :3] = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    turned = dataclasses.replace(
        capture, views=tuple(dataclasses.replace(view, light_from_world=turn) for view in capture.views)
    )
    other = dataclasses.replace(asset, environment=rotated(asset.environment, turn[:3, :3].mT))
    shown = []
    for name, views, one in (("turned", turned, asset), ("other", capture, other)):
        context, _ = make_context(tmp_path / name)
        folder = export(views, one, ExportConfig(light_height_px=32, preview_views=2), context).folder
        shown.append(images.read_image(folder / "render" / "0.png"))
    np.testing.assert_array_equal(*shown)
    assert not np.array_equal(shown[0], images.read_image(exported.folder / "render" / "0.png"))


def test_the_preview_has_seven_named_columns_and_a_row_per_view(exported, asset):
    preview = images.read_image(exported.folder / "preview.png")
    head = len(preview) - 2 * TILE_PX
    assert preview.shape[1] == 7 * TILE_PX
    assert all((name < 128).any() for name in np.split(preview[:head], 7, axis=1))
    tiles = preview[head:].reshape(2, TILE_PX, 7, TILE_PX, 3)
    middle = tiles[:, TILE_PX // 2, :, TILE_PX // 2].astype(int)
    assert (middle[:, 0] == 200).all()  # the photo
    base_color = [round(255 * c) for c in (0.797, 0.485, 0.349)]  # sRGB of .6, .2, .1
    np.testing.assert_allclose(middle[:, 2], np.broadcast_to(base_color, (2, 3)), atol=2)
    np.testing.assert_allclose(middle[:, 4], 128, atol=2)  # roughness .5, shown as it is stored
    np.testing.assert_allclose(middle[:, 5], 0, atol=2)
    assert (tiles[:, 2, 1:6, 2] == 255).all()  # white around the object


def test_renders_carry_the_mask_as_alpha(exported, capture):
    name = sorted((exported.folder / "render").glob("*.png"))[0]
    alpha = images.read_mask(name)
    assert alpha.shape == (48, 48)
    assert 0.05 < float(alpha.mean()) < 0.5
    assert float(alpha[24, 24]) == 1


def test_a_blank_asset_is_refused(asset, capture, tmp_path):
    blank = dataclasses.replace(asset, environment=None)
    with pytest.raises(InputError, match="no light"):
        export(capture, blank, ExportConfig(), make_context(tmp_path)[0])
