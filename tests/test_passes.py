"""Passes without masks are solved and masked one by one, and go on together as photos of lenses without distortion."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline import config, passes
from pipeline.formats import images
from pipeline.progress import Reporter
from pipeline.scene import Camera, Capture, Photo, Photos
from pipeline.stages.poses_view import still_view
from pipeline.workspace import Stage, Staged, Workspace
from tests.stage_context import make_context, posed

SIZE = (32, 24)


def photo(folder: Path, index: int, light: int, *, masked: bool) -> Photo:
    """A photo of one grey level, in the pass `light`."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{index:04d}_a.png"
    images.write_png(path, np.full((SIZE[1], SIZE[0], 3), 10 * index, np.uint8))
    mask = folder / f"{index:04d}_mask.png"
    images.write_png(mask, np.full((SIZE[1], SIZE[0]), 255, np.uint8))
    return Photo(
        name=f"pass{light}/a{index}.png",
        image_path=path,
        mask_path=mask if masked else None,
        width=SIZE[0],
        height=SIZE[1],
        focal_px=30.0,
        camera_label="camera",
        light_index=light,
    )


def workspace(folder: Path) -> Workspace:
    runtime = make_context(folder)[0].runtime
    return Workspace(root=folder, runtime=runtime, reporter=Reporter(quiet=True))


@pytest.fixture
def solved(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """Stand-ins for the stages of one pass; returns what each was asked to do, by the name of its folder."""
    asked: list[tuple[str, list[str]]] = []

    def stage(name: str, compute) -> Stage[Capture]:
        real = getattr(passes, name).STAGE
        return dataclasses.replace(real, compute=compute)

    def find_poses(photos: Photos, settings, context) -> Capture:
        asked.append((context.folder.name, [p.name for p in photos.photos]))
        camera = Camera(
            K=torch.tensor([[40.0, 0, 16], [0, 40, 12], [0, 0, 1]]).double(),
            cam_from_world=torch.eye(4, dtype=torch.float64),
            width=SIZE[0],
            height=SIZE[1],
        )
        return posed([still_view(p, p.image_path, p.mask_path, camera) for p in photos.photos], given=False)

    def mask(capture: Capture, model, settings, context) -> Capture:
        views = []
        for view in capture.views:
            path = context.folder / f"{view.image_path.stem}.png"
            images.write_png(path, np.full((SIZE[1], SIZE[0]), 100 + view.light_index, np.uint8))
            views.append(dataclasses.replace(view, mask_path=path))
        return dataclasses.replace(capture, views=tuple(views))

    monkeypatch.setattr(passes.poses, "STAGE", stage("poses", find_poses))
    monkeypatch.setattr(passes.world, "STAGE", stage("world", lambda capture, settings, context: capture))
    monkeypatch.setattr(passes.masks, "STAGE", stage("masks", mask))
    return asked


def joined(photos: tuple[Photo, ...], folder: Path) -> Photos:
    staged = Staged(value=Photos(photos=photos, poses_path=None), key="photos")
    return passes.with_masks(staged, Staged(value=None, key=""), config.load([]), workspace(folder)).value


def test_passes_without_masks_get_them_from_a_solution_of_their_own(
    solved: list[tuple[str, list[str]]], tmp_path: Path
) -> None:
    given = tuple(photo(tmp_path / "in", k, k % 2, masked=False) for k in range(6))
    photos = joined(given, tmp_path / "out")
    assert [(name, names) for name, names in solved] == [
        (".poses_pass1.partial", ["pass0/a0.png", "pass0/a2.png", "pass0/a4.png"]),
        (".poses_pass2.partial", ["pass1/a1.png", "pass1/a3.png", "pass1/a5.png"]),
    ]
    assert sorted(p.name for p in photos.photos) == sorted(p.name for p in given)
    for found in photos.photos:
        assert found.image_path.is_relative_to(tmp_path / "out" / "passes")
        assert found.mask_path is not None and images.read_mask(found.mask_path)[0, 0] == pytest.approx(
            (100 + found.light_index) / 255
        )
        source = next(p for p in given if p.name == found.name)
        assert np.array_equal(images.read_image(found.image_path), images.read_image(source.image_path))
        assert found.light_index == source.light_index and found.focal_px == 40.0
    assert len({p.camera_label for p in photos.photos}) == 2


def test_one_pass_and_masked_passes_go_on_as_they_are(solved: list[tuple[str, list[str]]], tmp_path: Path) -> None:
    one = tuple(photo(tmp_path / "one", k, 0, masked=False) for k in range(3))
    masked = tuple(photo(tmp_path / "masked", k, k % 2, masked=True) for k in range(4))
    for given in (one, masked):
        assert joined(given, tmp_path / "out").photos == given
    assert solved == []
