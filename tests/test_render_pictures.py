"""Rendered views as files."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from pipeline.color import linear_from_srgb
from pipeline.render.pictures import backdrop, finished, over_white, pixel_directions, write_map
from pipeline.shading.light_maps import equirect_directions
from pipeline.shading.render import Picture
from tests.shapes import camera_at, pixel_rays

SIZE = 4


@pytest.fixture
def picture():
    """Half covered on the left, whole on the right of the middle, nothing at both sides."""
    alpha = torch.tensor([0.0, 0.5, 1.0, 0.0]).expand(SIZE, SIZE)
    mask = alpha > 0

    def plane(*values):
        return torch.where(mask[..., None], torch.tensor(values), 0)

    return Picture(
        mask=mask,
        alpha=alpha,
        color=plane(0.25, 0.5, 3.0),
        base_color=plane(0.2, 0.4, 0.6),
        normal=plane(0.0, 0.6, -0.8),
        orm=plane(1.0, 0.5, 0.25),
        depth=torch.where(mask, 2.5, 0.0),
    )


def levels(linear):
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * srgb).astype(int)


def test_a_transparent_picture_has_straight_alpha(picture):
    pixels = finished(picture, None, 2.0)
    assert pixels.shape == (SIZE, SIZE, 4)
    assert pixels[0, 1].tolist() == [*levels(np.array([0.5, 1.0, 1.0])), 128]
    assert pixels[0, 2].tolist() == [*levels(np.array([0.5, 1.0, 1.0])), 255]
    assert pixels[0, 0, 3] == 0


@pytest.mark.parametrize(("kind", "level"), [("white", 1.0), ("black", 0.0)])
def test_a_background_is_mixed_in_linear_light(picture, kind, level):
    camera = camera_at((0.0, 0.0, 3.0), size_px=SIZE)
    pixels = finished(picture, backdrop(kind, torch.ones(2, 4, 3), camera, 0.5), 1.0)
    assert pixels.shape == (SIZE, SIZE, 3)
    assert pixels[0, 0].tolist() == [round(255 * level)] * 3  # exposure leaves it alone
    assert pixels[0, 1].tolist() == levels((np.array([0.25, 0.5, 1.0]) + level) / 2).tolist()
    assert pixels[0, 2].tolist() == levels(np.array([0.25, 0.5, 1.0])).tolist()


def test_the_light_lies_behind_in_its_own_direction():
    camera = camera_at((2.0, 1.0, 1.5), size_px=32, focal_px=30.0)
    sky = equirect_directions(128) * 0.5 + 0.5  # a light that tells its direction
    torch.testing.assert_close(pixel_directions(camera).double(), pixel_rays(camera)[:, :, 0], atol=1e-6, rtol=0)
    behind = backdrop("light", sky, camera, 3.0)
    seen = normalize(behind / 3.0 * 2 - 1, dim=-1)
    torch.testing.assert_close(seen, pixel_directions(camera), atol=1e-3, rtol=0)


def test_maps_are_stored_as_the_help_says(picture, tmp_path):
    for kind in ("normal", "base_color", "orm", "depth", "mask"):
        write_map(kind, picture, tmp_path, "b.v2")
    assert len(list(tmp_path.iterdir())) == 5
    read = {p.name: np.asarray(Image.open(p)) for p in tmp_path.glob("*.png")}
    assert read["b.v2_normal.png"][0, 2].tolist() == [128, 204, 25]
    assert read["b.v2_base_color.png"][0, 2].tolist() == levels(np.array([0.2, 0.4, 0.6])).tolist()
    assert read["b.v2_orm.png"][0, 2].tolist() == [255, 128, 64]
    assert read["b.v2_mask.png"][0].tolist() == [0, 128, 255, 0]
    assert all((read[f"b.v2_{kind}.png"][0, 0] == 0).all() for kind in ("normal", "base_color", "orm"))


def test_depth_is_float(picture, tmp_path):
    import OpenEXR

    write_map("depth", picture, tmp_path, "a")
    depth = OpenEXR.File(str(tmp_path / "a_depth.exr")).channels()["Z"].pixels
    assert depth.dtype == np.float32 and depth[0].tolist() == [0, 2.5, 2.5, 0]


def test_frames_of_a_video_have_no_alpha(tmp_path):
    pixels = np.array([[[188, 0, 0, 128], [10, 20, 30, 255], [9, 9, 9, 0]]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    frame = over_white(tmp_path / "a.png")
    red = float(linear_from_srgb(torch.tensor(188 / 255)))
    assert abs(int(frame[0, 0, 0]) - levels(np.array(1 + 128 / 255 * (red - 1)))) <= 1
    assert frame[0, 1].tolist() == [10, 20, 30] and frame[0, 2].tolist() == [255, 255, 255]
    Image.fromarray(pixels[..., :3]).save(tmp_path / "b.png")
    assert np.array_equal(over_white(tmp_path / "b.png"), pixels[..., :3])
