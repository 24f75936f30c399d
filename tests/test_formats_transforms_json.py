"""Transforms files: what is written reads back, what others write projects as it should, nonsense is named."""

import json
import math

import numpy as np
import pytest
import torch

from pipeline.errors import InputError
from pipeline.formats.images import write_png
from pipeline.formats.transforms_json import read_transforms, read_transforms_by_name, write_cameras
from pipeline.scene import Camera


def gl_pose(seed=0):
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    pose = np.eye(4)
    pose[:3, :3] = rotation * np.sign(np.linalg.det(rotation))
    pose[:3, 3] = [1.0, 2.0, 3.0 + seed]
    return pose.tolist()


def write(folder, frames, **shared):
    path = folder / "transforms.json"
    path.write_text(json.dumps({"w": 64, "h": 48, "fl_x": 50.0, **shared, "frames": frames}))
    return path


def frame(name="a.png", seed=0, **more):
    return {"file_path": name, "transform_matrix": gl_pose(seed), **more}


def test_projection_follows_the_opengl_formula(tmp_path):
    """x = cx + fl_x X / -Z, y = cy - fl_y Y / -Z for a point (X, Y, Z) of the OpenGL camera frame."""
    path = write(tmp_path, [frame()], fl_x=50.0, fl_y=60.0, cx=30.0, cy=20.0)
    camera = read_transforms(path)[0].camera
    in_gl_cam = torch.tensor([[0.3, 0.2, -2.0, 1.0]], dtype=torch.float64)
    world = in_gl_cam @ torch.tensor(gl_pose(), dtype=torch.float64).mT
    pixel, depth = camera.project(world[:, :3])
    assert torch.allclose(pixel, torch.tensor([[30 + 50 * 0.3 / 2, 20 - 60 * 0.2 / 2]], dtype=torch.float64))
    assert torch.allclose(depth, torch.tensor([2.0], dtype=torch.float64))


def test_names_photos_and_masks(tmp_path):
    (tmp_path / "train").mkdir()
    for name in ("train/r_0.png", "b.v2.png", "mask.png"):
        write_png(tmp_path / name, np.zeros((48, 64, 3), np.uint8))
    frames = [frame("./train/r_0"), frame("b.v2", mask_path="mask.png"), frame("../c.jpg"), frame("sub\\d.JPG")]
    read = read_transforms(write(tmp_path, frames, env="/etc/passwd", light="nowhere.hdr"))
    assert [f.name for f in read] == ["r_0", "b.v2", "c", "d"]
    assert [f.image_path for f in read] == [tmp_path / "train/r_0.png", tmp_path / "b.v2.png", None, None]
    assert [f.mask_path for f in read] == [None, tmp_path / "mask.png", None, None]


def test_intrinsics_shared_per_frame_and_from_the_angle(tmp_path):
    own = {"fl_x": 70.0, "w": 32, "h": 24, "cx": 15.0}
    first, second = (f.camera for f in read_transforms(write(tmp_path, [frame("a"), frame("b", **own)])))
    assert first.K.tolist() == [[50, 0, 32], [0, 50, 24], [0, 0, 1]] and (first.width, first.height) == (64, 48)
    assert second.K.tolist() == [[70, 0, 15], [0, 70, 12], [0, 0, 1]] and (second.width, second.height) == (32, 24)
    path = tmp_path / "angle.json"
    write_png(tmp_path / "a.png", np.zeros((48, 64, 3), np.uint8))
    path.write_text(json.dumps({"camera_angle_x": math.pi / 2, "frames": [frame("a")]}))
    camera = read_transforms(path)[0].camera
    assert torch.allclose(camera.K, torch.tensor([[32.0, 0, 32], [0, 32, 24], [0, 0, 1]], dtype=torch.float64))


def test_cameras_round_trip(tmp_path):
    frames = [frame("a.jpg", 0), frame("b c.png", 1, fl_x=77.25, fl_y=78.0, cx=11.0, w=65), frame("\u732b.png", 2)]
    read = read_transforms(write(tmp_path, frames, camera_model="OPENCV", k1=0.0))
    cameras = {str(json_frame["file_path"]): f.camera for json_frame, f in zip(frames, read, strict=True)}
    write_cameras(tmp_path / "cameras.json", cameras)
    again = read_transforms(tmp_path / "cameras.json")
    assert [f.name for f in again] == ["a", "b c", "\u732b"]
    for one, two in zip(read, again, strict=True):
        assert torch.equal(one.camera.K, two.camera.K) and two.camera.K.dtype == torch.float64
        assert torch.allclose(one.camera.cam_from_world, two.camera.cam_from_world, atol=1e-12)
        assert (one.camera.width, one.camera.height) == (two.camera.width, two.camera.height)
    written = json.loads((tmp_path / "cameras.json").read_text())
    assert written["camera_angle_x"] == pytest.approx(2 * math.atan(32 / 50)) and "fl_x" not in written["frames"][0]
    assert np.allclose(written["frames"][2]["transform_matrix"], gl_pose(2), atol=1e-12)


def edited(row, column, value):
    pose = gl_pose()
    pose[row][column] = value
    return pose


MIRRORED = np.diag([1.0, 1.0, -1.0, 1.0]).tolist()
BAD_FRAMES = {
    "not finite": {"transform_matrix": edited(0, 3, float("nan"))},
    "mirrored": {"transform_matrix": MIRRORED},
    "scaled": {"transform_matrix": np.diag([2.0, 2.0, 2.0, 1.0]).tolist()},
    "singular": {"transform_matrix": np.diag([0.0, 0.0, 0.0, 1.0]).tolist()},
    "not a rotation": {"transform_matrix": [[1, 0.1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]},
    "shape": {"transform_matrix": [[1, 0], [0, 1]]},
    "ends in": {"transform_matrix": edited(3, 0, 0.5)},
    "matrix of numbers": {"transform_matrix": [["x"]]},
    "distortion .k1 = 0.1": {"k1": 0.1},
    "distortion .camera_model": {"camera_model": "OPENCV_FISHEYE"},
    "w = 0": {"w": 0},
    "h = 1.5": {"h": 1.5},
    "fl_x = 'a'": {"fl_x": "a"},
    "cx = inf": {"cx": float("inf")},
    "focal length -5": {"fl_x": -5},
    "mask_path '../m.png'": {"mask_path": "../m.png"},
    "mask_path 'm.png' does not exist": {"mask_path": "m.png"},
}


@pytest.mark.parametrize("message", BAD_FRAMES)
def test_a_bad_frame_is_named(tmp_path, message):
    path = write(tmp_path, [frame("good"), {**frame("bad.png"), **BAD_FRAMES[message]}])
    with pytest.raises(InputError, match=rf"transforms\.json: frame 1 \(bad\): .*{message}") as caught:
        read_transforms(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "not a JSON object"),
        ('{"frames": []}', "no list of frames"),
        ('{"frames": [3]}', "frame 0 names no file_path"),
        ('{"frames": [{"file_path": "a"}]}', "frame 0 .a.: has no size"),
        ('{"w": 4, "h": 4, "frames": [{"file_path": "a"}]}', "no focal length"),
        ('{"w": 4, "h": 4, "camera_angle_x": 4, "frames": [{"file_path": "a"}]}', "between 0 and pi"),
        ('{"w": 1' + "0" * 400 + ', "h": 4, "frames": [{"file_path": "a"}]}', "finite number"),
    ],
)
def test_a_file_that_is_something_else_is_refused(tmp_path, text, message):
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read_transforms(tmp_path / "t.json")


def test_two_frames_of_one_name_cannot_be_matched(tmp_path):
    path = write(tmp_path, [frame("x/a.png"), frame("b"), frame("y/a.jpg")])
    assert len(read_transforms(path)) == 3
    with pytest.raises(InputError, match=r"'x/a\.png' and 'y/a\.jpg' share one name"):
        read_transforms_by_name(path)
    assert list(read_transforms_by_name(write(tmp_path, [frame("x/a.png"), frame("b")]))) == ["a", "b"]


def test_cameras_that_the_format_cannot_express(tmp_path):
    K = torch.tensor([[50.0, 1.0, 32], [0, 50, 24], [0, 0, 1]])
    camera = Camera(K=K, cam_from_world=torch.eye(4), width=64, height=48)
    with pytest.raises(InputError, match="skew"):
        write_cameras(tmp_path / "c.json", {"a": camera})
    with pytest.raises(InputError, match="no cameras"):
        write_cameras(tmp_path / "c.json", {})
