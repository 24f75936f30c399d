"""A capture survives its file exactly, and moves with its folder."""

import dataclasses
import os
import shutil
from pathlib import Path

import torch

from pipeline.formats import capture_json
from pipeline.scene import Camera, Capture, View


def make_capture(root: Path) -> Capture:
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    pose[:3, :3] *= torch.linalg.det(pose[:3, :3])
    pose[:3, 3] = torch.randn(3, dtype=torch.float64)
    K = torch.tensor([[500.1, 0, 320.5], [0, 499.9, 240.25], [0, 0, 1]], dtype=torch.float64)
    views = tuple(
        View(
            name=name,
            image_path=root / "ingest" / "images" / f"{k}.jpg",
            mask_path=root / "masks" / "masks" / f"{k}.png" if k else None,
            camera=Camera(K=K, cam_from_world=pose, width=640, height=480),
            exposure=torch.rand(3),
            light_from_world=pose,
        )
        for k, name in enumerate(("a b.jpg", os.fsdecode("é\n".encode() + b"\xff.png")))
    )
    return Capture(
        views=views,
        points=torch.randn(5, 3, dtype=torch.float64),
        point_colors=torch.rand(5, 3, dtype=torch.float64),
        object_box=torch.randn(2, 3, dtype=torch.float64),
        world_from_input=torch.randn(4, 4, dtype=torch.float64),
        metres_per_unit=0.1,
    )


def assert_same(a: object, b: object) -> None:
    for name, value in vars(a).items():
        other = getattr(b, name)
        if isinstance(value, torch.Tensor):
            assert value.dtype == other.dtype, name
            assert torch.equal(value, other), name
        elif dataclasses.is_dataclass(value):
            assert_same(value, other)
        elif name == "views":
            assert len(value) == len(other)
            for mine, theirs in zip(value, other, strict=True):
                assert_same(mine, theirs)
        else:
            assert value == other, name


def test_a_capture_comes_back_bit_by_bit(tmp_path: Path) -> None:
    capture = make_capture(tmp_path)
    (tmp_path / "masks").mkdir()
    capture_json.save(capture, tmp_path / "masks")
    assert_same(capture, capture_json.load(tmp_path / "masks"))


def test_an_empty_cloud_and_an_unknown_scale_come_back(tmp_path: Path) -> None:
    none = torch.zeros(0, 3, dtype=torch.float64)
    capture = dataclasses.replace(make_capture(tmp_path), points=none, point_colors=none, metres_per_unit=None)
    capture_json.save(capture, tmp_path)
    assert_same(capture, capture_json.load(tmp_path))


def test_a_run_may_be_renamed_and_the_stage_too(tmp_path: Path) -> None:
    (tmp_path / "run" / ".masks.partial").mkdir(parents=True)
    capture_json.save(make_capture(tmp_path / "run"), tmp_path / "run" / ".masks.partial")
    (tmp_path / "run" / ".masks.partial").rename(tmp_path / "run" / "masks")
    shutil.move(tmp_path / "run", tmp_path / "moved")
    view = capture_json.load(tmp_path / "moved" / "masks").views[1]
    assert view.image_path == tmp_path / "moved" / "ingest" / "images" / "1.jpg"
    assert view.mask_path == tmp_path / "moved" / "masks" / "masks" / "1.png"
