"""`recon render` as a user sees it: markers show that light and cameras face the right way, errors are one line."""

import json

import cv2
import numpy as np
import OpenEXR
import pytest
import torch
from PIL import Image

from pipeline import cli
from pipeline.color import linear_from_srgb
from pipeline.formats.images import write_hdr
from pipeline.render import command
from scripts import export_markers
from tests.stage_context import write_photos


@pytest.fixture(scope="module")
def markers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("markers")
    export_markers.write_markers(folder)
    return folder


@pytest.fixture
def recon(monkeypatch, capsys):
    """Run the command line in this process; returns the exit code, and what was printed to both outputs."""
    monkeypatch.setattr(cli.signal, "signal", lambda number, handler: None)  # keep the test's own

    def run(*arguments):
        code = cli.main(["render", *map(str, arguments)])
        printed, errors = capsys.readouterr()
        return code, printed, errors

    return run


def linear(path, gain=1.0):
    return linear_from_srgb(torch.tensor(np.asarray(Image.open(path))[..., :3] / 255)).numpy() * gain


def test_a_mirror_ball_shows_each_light_where_its_direction_is_reflected(markers, recon, tmp_path):
    """Red at +X, green at +Y, blue at +Z; the light is found beside the asset."""
    cameras, asset = markers / "mirror" / "cameras.json", markers / "mirror" / "asset.glb"
    dark = ("--background", "black", "--exposure", "-5", "--samples", "1")
    code, printed, errors = recon(asset, "--camera", f"{cameras}:front,right,above", *dark, "--out", tmp_path)
    assert (code, errors) == (0, "") and f"light       {markers / 'mirror' / 'light.hdr'}\n" in printed
    assert sorted(p.name for p in tmp_path.glob("*.*")) == [".lock", "above.png", "front.png", "right.png"]
    for name in ("front", "right", "above"):
        shown, view = linear(tmp_path / f"{name}.png", 2**5), export_markers.views()[name]
        assert export_markers.check_mirror(shown, view) == [], name
        assert len(export_markers.check_mirror(shown[:, ::-1], view)) > 0


def test_a_turned_light_is_seen_by_a_camera_turned_along(markers, recon, tmp_path):
    """With the light turned by 90 degrees, the camera on the right sees what the one in front saw."""
    cameras, asset = markers / "mirror" / "cameras.json", markers / "mirror" / "asset.glb"
    dark = ("--background", "black", "--exposure", "-5", "--samples", "1")
    assert recon(asset, "--camera", f"{cameras}:front", *dark, "--out", tmp_path)[0] == 0
    assert recon(asset, "--camera", f"{cameras}:right", *dark, "--light-rotation", "90", "--out", tmp_path)[0] == 0
    front, right = (linear(tmp_path / f"{name}.png", 2**5) for name in ("front", "right"))
    assert np.abs(front - right).mean() < 0.02 * front.mean()


def test_a_chart_ball_shows_each_quarter_of_its_texture(markers, recon, tmp_path):
    asset, cameras = markers / "chart" / "asset.glb", markers / "chart" / "cameras.json"
    assert recon(asset, "--camera", f"{cameras}:right.png,left", "--out", tmp_path)[0] == 0
    for name in ("right", "left"):
        shown, view = linear(tmp_path / f"{name}.png"), export_markers.views()[name]
        assert export_markers.check_chart(shown, view) == [], name
        assert len(export_markers.check_chart(shown[::-1], view)) > 0


def test_a_turntable_makes_pictures_maps_and_a_video(markers, recon, tmp_path):
    asset = tmp_path / "alone" / "asset.glb"
    asset.parent.mkdir()
    asset.write_bytes((markers / "chart" / "asset.glb").read_bytes())
    out = tmp_path / "new" / "out"
    maps = ("--aov", "normal,base_color,orm,depth,mask", "--background", "transparent")
    code, printed, errors = recon(asset, "--turntable", 2, "--size", "65x49", *maps, "--out", out)
    assert (code, errors) == (0, "") and "even white (there is no light.hdr beside the asset)" in printed
    names = [f"turntable_00{k}{m}" for k in (0, 1) for m in ("", "_base_color", "_mask", "_normal", "_orm")]
    assert sorted(p.stem for p in out.glob("*.png")) == sorted(names)
    picture = np.asarray(Image.open(out / "turntable_000.png"))
    assert picture.shape == (49, 65, 4) and picture[24, 32, 3] == 255 and picture[0, 0, 3] == 0
    normal = np.asarray(Image.open(out / "turntable_001_normal.png"))[24, 32].astype(int)
    assert np.abs(normal - [128, 161, 5]).max() < 6  # from behind, 15 degrees up
    depth = OpenEXR.File(str(out / "turntable_000_depth.exr")).channels()["Z"].pixels
    assert depth[0, 0] == 0 and 0.5 < depth[24, 32] < 20
    video = cv2.VideoCapture(str(out / "turntable.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 2 and video.read()[1].shape == (50, 66, 3)


def test_light_and_material_are_changed_on_the_way(markers, recon, tmp_path):
    """A white furnace of radiance 0.5: a matt surface shows its base colour times that, plus the coat's share."""
    write_hdr(tmp_path / "half.hdr", torch.full((16, 32, 3), 0.25))
    Image.new("RGB", (8, 8), (188, 188, 188)).save(tmp_path / "grey.png")  # 0.5 linear
    edits = ("--swap", f"base_color={tmp_path / 'grey.png'}", "--tint", "1,0.5,0", "--roughness", "1")
    light = ("--light", tmp_path / "half.hdr", "--light-strength", "2")
    asset = markers / "chart" / "asset.glb"
    assert recon(asset, "--turntable", 1, "--size", 32, *light, *edits, "--out", tmp_path / "out")[::2] == (0, "")
    shown = linear(tmp_path / "out" / "turntable_000.png")[16, 16]
    np.testing.assert_allclose(shown, [0.25 + 0.02, 0.125 + 0.02, 0.02], atol=0.02)
    assert not (tmp_path / "out" / "turntable.mp4").exists()  # one picture is no video


def test_a_video_that_fails_leaves_the_pictures_and_a_warning(markers, recon, tmp_path, monkeypatch):
    from pipeline.formats import video

    monkeypatch.setattr(video, "CODECS", ())
    asset = markers / "chart" / "asset.glb"
    code, _, errors = recon(asset, "--turntable", 2, "--size", 16, "--samples", 1, "--out", tmp_path)
    assert code == 0 and errors.count("\n") == 1 and "no video" in errors and "opens no encoder" in errors
    assert len(list(tmp_path.glob("*.png"))) == 2


def test_a_camera_that_sees_nothing_gives_the_background(markers, recon, tmp_path):
    cameras = json.loads((markers / "chart" / "cameras.json").read_text())
    frame = cameras["frames"][0]
    frame["transform_matrix"][2][3] = -20.0  # behind the ball, looking away
    (tmp_path / "away.json").write_text(json.dumps({**cameras, "frames": [frame]}))
    asset = markers / "chart" / "asset.glb"
    code, _, errors = recon(asset, "--camera", tmp_path / "away.json", "--aov", "normal", "--out", tmp_path / "out")
    assert (code, errors) == (0, "") and (np.asarray(Image.open(tmp_path / "out" / "front.png")) == 255).all()


@pytest.fixture
def inputs(markers, tmp_path, monkeypatch):
    """A folder to work in, with an asset, cameras, and files that are not what they should be."""
    write_photos(tmp_path, "a.jpg")
    for name, source in (("ball.glb", "asset.glb"), ("c.json", "cameras.json")):
        (tmp_path / name).write_bytes((markers / "chart" / source).read_bytes())
    (tmp_path / "empty.json").write_text('{"frames": []}')
    write_hdr(tmp_path / "wide.hdr", torch.ones(4, 12, 3))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("ball.glb",), 2, "one of the arguments --camera --turntable is required"),
        (("ball.glb", "--turntable", "2", "--camera", "c.json"), 2, "not allowed with"),
        (("ball.glb", "--turntable", "0"), 2, "--turntable 0 is outside 1 .. 3600"),
        (("ball.glb", "--turntable", "two"), 2, "--turntable: invalid int value: 'two'"),
        (("ball.glb", "--turntable", "2", "--size", "1x"), 2, "'1x' is neither N nor WxH"),
        (
            ("ball.glb", "--turntable", "2", "--size", "8000"),
            2,
            "pixels of 2 x 2 samples, 256 million in all, limit 67",
        ),
        (("ball.glb", "--turntable", "2", "--samples", "9"), 2, "--samples 9 is outside 1 .. 8"),
        (("ball.glb", "--turntable", "2", "--tint", "1,2"), 2, "'1,2' is not three numbers R,G,B"),
        (("ball.glb", "--turntable", "2", "--aov", "normal,uv"), 2, "'uv' is none of normal"),
        (("ball.glb", "--turntable", "2", "--swap", "colour=a.png"), 2, "is not MAP=FILE"),
        (("ball.glb", "--turntable", "2", "--swap", "orm=a.png"), 2, "a.png: does not exist"),
        (("ball.glb", "--turntable", "2", "--light-strength", "nan"), 2, "--light-strength nan is outside"),
        (("ball.glb", "--turntable", "2", "--exposure", "99"), 2, "--exposure 99 is outside -20 .. 20"),
        (("ball.glb", "--turntable", "2", "quality=draft"), 2, "unknown argument 'quality=draft'"),
        (("ball.glb", "--camera", "c.json", "--fov", "30"), 2, "belong to --turntable"),
        (("ball.glb", "--camera", "gone.json:front"), 2, "gone.json: does not exist"),
        (("ball.glb", "--camera", "c.json:frond"), 2, "no camera is named 'frond' (did you mean front?)"),
        (("ball.glb", "--camera", "empty.json"), 3, "empty.json: holds no list of frames"),
        (("ball.glb", "--turntable", "2", "--light", "gone.hdr"), 2, "gone.hdr: does not exist"),
        (("ball.glb", "--turntable", "2", "--light", "a.jpg"), 3, "a light map is a .hdr or .exr file"),
        (("ball.glb", "--turntable", "2", "--light", "wide.hdr"), 3, "ratio 3.00:1"),
        (("ball.glb", "--turntable", "2", "--swap", "orm=a.jpg"), 3, "a.jpg: 40 x 30 pixels have another shape"),
        (("gone.glb", "--turntable", "2"), 2, "gone.glb: does not exist"),
        (("a.jpg", "--turntable", "2"), 3, "a.jpg: is not a GLB file"),
        (("ball.glb", "--turntable", "2", "--out", "a.jpg"), 2, "a.jpg: is a file"),
        (("ball.glb", "--turntable", "2", "--out", "/proc/recon"), 5, "/proc/recon: cannot be written"),
    ],
)
def test_wrong_usage_and_input_are_one_line(arguments, code, told, inputs, recon):
    before = sorted(inputs.iterdir())
    out = () if "--out" in arguments else ("--out", "out")
    exit_code, printed, errors = recon(*arguments, *out)
    assert exit_code == code, errors
    assert errors.startswith("recon: error: ") and errors.count("\n") == 1 and told in errors
    assert printed == "" or printed.startswith("light ")
    assert sorted(inputs.iterdir()) == before


def test_photos_are_never_replaced_by_pictures_of_their_names(markers, recon, tmp_path):
    write_photos(tmp_path, "front.png")
    (tmp_path / "cameras.json").write_bytes((markers / "chart" / "cameras.json").read_bytes())
    asset = markers / "chart" / "asset.glb"
    code, _, errors = recon(asset, "--camera", tmp_path / "cameras.json", "--out", tmp_path)
    assert code == 2 and "holds 2 entries (cameras.json, front.png)" in errors


def test_the_light_is_prepared_once(markers, recon, tmp_path, monkeypatch):
    calls, prepare = [], command.light_mesh
    monkeypatch.setattr(command, "light_mesh", lambda *a, **k: calls.append(1) or prepare(*a, **k))
    asset = markers / "chart" / "asset.glb"
    assert recon(asset, "--turntable", 3, "--size", 16, "--samples", 1, "--out", tmp_path)[0] == 0
    assert len(calls) == 1
