"""Cameras for rendering: a turntable that holds its asset, and cameras of a file by name."""

import pytest
import torch

from pipeline.errors import InputError, UsageError
from pipeline.formats.transforms_json import write_cameras
from pipeline.render.viewpoints import CameraFile, Turntable
from tests.shapes import camera_at

ROD = torch.tensor([[0.0, 0, 0], [3.0, 0, 0], [0.0, 1, 0], [0.0, 0, 0.5]]) + torch.tensor([5.0, -2.0, 1.0])
MIDDLE = torch.tensor([6.5, -1.5, 1.25], dtype=torch.float64)


def test_a_turntable_starts_in_front_and_turns_to_the_right():
    cameras = Turntable(count=4, elevation_deg=0.0).cameras(ROD)
    assert list(cameras) == ["turntable_000", "turntable_001", "turntable_002", "turntable_003"]
    expected = torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 0, -1], [-1, 0, 0]], dtype=torch.float64)
    for camera, side in zip(cameras.values(), expected, strict=True):
        away = camera.camera_center - MIDDLE
        torch.testing.assert_close(away / away.norm(), side)
        torch.testing.assert_close(camera.forward, -side)
        above, _ = camera.project(torch.stack([MIDDLE, MIDDLE + torch.tensor([0, 0.1, 0])]))
        torch.testing.assert_close(above[0], torch.tensor([256.0, 256.0], dtype=torch.float64))
        assert above[1, 1] < 255 and above[1, 0] == pytest.approx(256)


@pytest.mark.parametrize("size_px", [(512, 512), (300, 100), (100, 300)])
@pytest.mark.parametrize(("elevation_deg", "fov_deg"), [(15.0, 35.0), (-80.0, 100.0), (89.0, 1.0)])
def test_the_asset_fits_into_every_picture_and_fills_one(size_px, elevation_deg, fov_deg):
    table = Turntable(count=7, size_px=size_px, elevation_deg=elevation_deg, fov_deg=fov_deg)
    reach = []
    for camera in table.cameras(ROD).values():
        pixels, depth = camera.project(ROD)
        assert (depth > 0).all()
        size = torch.tensor(size_px, dtype=torch.float64)
        reach.append(float((2 * pixels / size - 1).abs().max()))
        sine = (camera.camera_center - MIDDLE)[1] / (camera.camera_center - MIDDLE).norm()
        assert float(torch.rad2deg(sine.asin())) == pytest.approx(elevation_deg)
        assert 2 * camera.K[0, 0] * torch.tan(torch.deg2rad(torch.tensor(fov_deg)) / 2) == pytest.approx(min(size_px))
    assert max(reach) == pytest.approx(1 / 1.05)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"count": 0}, "--turntable 0 is outside 1 .. 3600"),
        ({"count": 5000}, "--turntable 5000"),
        ({"count": 2, "size_px": (0, 5)}, "--size 0"),
        ({"count": 2, "size_px": (5, 10000)}, "--size 10000 is outside 1 .. 8192"),
        ({"count": 2, "elevation_deg": 90.0}, "--elevation 90"),
        ({"count": 2, "fov_deg": float("nan")}, "--fov nan"),
    ],
)
def test_impossible_turntables_are_refused(values, told):
    with pytest.raises(UsageError, match=told):
        Turntable(**values)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "cameras.json"
    write_cameras(path, {name: camera_at((0.0, 0.1 * k, 3.0)) for k, name in enumerate(("a.jpg", "b.c.jpg", "d"))})
    return path


def test_cameras_are_chosen_by_name_in_the_order_asked_for(file):
    assert list(CameraFile.parse(str(file)).cameras()) == ["a", "b.c", "d"]
    chosen = CameraFile.parse(f"{file}:d,b.c.jpg").cameras()
    assert list(chosen) == ["d", "b.c"]
    torch.testing.assert_close(chosen["d"].camera_center, torch.tensor([0, 0.2, 3.0], dtype=torch.float64))


def test_a_file_may_have_a_colon_in_its_name(file):
    odd = file.rename(file.with_name("x:y.json"))
    assert len(CameraFile.parse(str(odd)).cameras()) == 3
    assert list(CameraFile.parse(f"{odd}:a").cameras()) == ["a"]


def test_unknown_names_and_files_are_told(file):
    with pytest.raises(UsageError, match=r"no camera is named 'b.x' \(did you mean b.c\?\)"):
        CameraFile.parse(f"{file}:a,b.x").cameras()
    with pytest.raises(UsageError, match=r"gone.json: does not exist"):
        CameraFile.parse("gone.json:a").cameras()
    file.write_text('{"frames": []}')
    with pytest.raises(InputError, match="holds no list of frames"):
        CameraFile.parse(str(file)).cameras()
