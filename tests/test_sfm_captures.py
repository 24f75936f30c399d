"""Structure from motion on mixed, split and disturbed captures of a known scene."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.config import PosesConfig
from pipeline.errors import CaptureError
from pipeline.formats.resample import resize
from pipeline.scene import Photos
from pipeline.stages import poses
from tests import textured_scene
from tests.stage_context import make_context
from tests.test_sfm import as_photos

FEW = PosesConfig(max_features=700)


def photos_with_labels(folder: Path, pictures: list[np.ndarray]) -> Photos:
    """As ingest leaves them: photos of one size share a camera's label."""
    photos = as_photos(folder, pictures)
    own = [
        dataclasses.replace(p, width=q.shape[1], height=q.shape[0], mask_path=None, camera_label=f"camera {q.shape[1]}")
        for p, q in zip(photos.photos, pictures, strict=True)
    ]
    return dataclasses.replace(photos, photos=tuple(own))


def focal_over_width(view) -> float:
    return float(view.camera.K[0, 0]) / view.camera.width


def test_photos_of_two_sizes_get_two_cameras_and_one_model(tmp_path: Path) -> None:
    """The second half is cropped to a portrait and halved: another camera, another focal length in pixels."""
    pictures, _ = textured_scene.photos(8, arc=2.0)
    portraits = [resize(p[:, 80:320], 180, 225) for p in pictures[4:]]
    context, warnings = make_context(tmp_path / "poses")
    capture = poses.STAGE.compute(photos_with_labels(tmp_path / "photos", pictures[:4] + portraits), FEW, context)
    assert warnings == [] and len(capture.views) == 8
    for view in capture.views[:4]:
        assert focal_over_width(view) == pytest.approx(textured_scene.FOCAL_PX / textured_scene.WIDTH, rel=0.05)
    for view in capture.views[4:]:
        assert focal_over_width(view) == pytest.approx(textured_scene.FOCAL_PX / 240, rel=0.05)
    assert {f"{v.camera.K[0, 0]:.6f}" for v in capture.views[4:]} == {f"{capture.views[4].camera.K[0, 0]:.6f}"}


def test_two_groups_are_told_apart_and_the_larger_one_is_used(tmp_path: Path) -> None:
    """The second group is a mirror image, which matches itself and nothing else."""
    pictures, _ = textured_scene.photos(6, arc=1.4)
    mirrored = [np.ascontiguousarray(p[:, ::-1]) for p in pictures[:4]]
    context, warnings = make_context(tmp_path / "poses")
    capture = poses.STAGE.compute(photos_with_labels(tmp_path / "photos", pictures + mirrored), FEW, context)
    assert [v.name for v in capture.views] == [f"photo {k}.jpg" for k in range(6)]
    told = " ".join(warnings)
    assert "4 of 10 photos found no pose: photo 6.jpg, photo 7.jpg, photo 8.jpg, photo 9.jpg" in told
    assert "the largest has 6 of 10, beside it 4 photos (photo 6.jpg" in told
    assert "both groups" in told
    assert context.metrics["placed by usual settings"] == 6 and len(context.metrics) > 5


def test_a_still_background_with_a_turning_object_is_told(tmp_path: Path) -> None:
    """One background before which a small patch changes: the camera never moved, so there is no parallax to use."""
    background = textured_scene.photos(1)[0][0]
    random = np.random.default_rng(5)
    pictures = []
    for _ in range(6):
        picture = background.copy()
        picture[130:170, 180:220] = random.integers(0, 256, (40, 40, 3))
        pictures.append((picture + random.normal(0, 2, picture.shape)).clip(0, 255).astype(np.uint8))
    context, _ = make_context(tmp_path / "poses")
    with pytest.raises(CaptureError, match=r"stands still in the picture.*rig=turntable.*markers"):
        poses.STAGE.compute(photos_with_labels(tmp_path / "photos", pictures), FEW, context)


def test_one_stranger_is_named_and_left_out(tmp_path: Path) -> None:
    pictures, _ = textured_scene.photos(6, arc=1.4)
    stranger = np.random.default_rng(9).integers(0, 256, pictures[0].shape, np.uint8)
    context, warnings = make_context(tmp_path / "poses")
    capture = poses.STAGE.compute(photos_with_labels(tmp_path / "photos", [*pictures, stranger]), FEW, context)
    assert len(capture.views) == 6
    assert warnings == ["1 of 7 photos found no pose: photo 6.jpg"]


def test_the_model_is_kept_for_other_programs(tmp_path: Path) -> None:
    """COLMAP's text files under the user's names, in the photos' own pixels."""
    pictures, _ = textured_scene.photos(5, arc=1.2)
    context, _ = make_context(tmp_path / "poses")
    capture = poses.STAGE.compute(photos_with_labels(tmp_path / "photos", pictures), FEW, context)
    images = (context.folder / "colmap" / "images.txt").read_text()
    assert all(f" {v.name}\n" in images for v in capture.views)
    camera = (context.folder / "colmap" / "cameras.txt").read_text().splitlines()[-1].split()
    assert camera[2:4] == [str(textured_scene.WIDTH), str(textured_scene.HEIGHT)]


def test_one_thread_gives_the_same_bytes_twice_and_two_give_them_too(tmp_path: Path) -> None:
    pictures, _ = textured_scene.photos(5, arc=1.2)
    photos = photos_with_labels(tmp_path / "photos", pictures)
    results = []
    for name, threads in (("a", 1), ("b", 1), ("c", 2)):
        context, _ = make_context(tmp_path / name)
        runtime = dataclasses.replace(context.runtime, threads=threads)
        poses.STAGE.compute(photos, FEW, dataclasses.replace(context, runtime=runtime))
        results.append((context.folder / "sfm.json").read_bytes())
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("masks", ["made", "given"])
def test_on_a_turntable_the_still_background_is_left_out(masks: str, tmp_path: Path) -> None:
    """The scene turns inside an ellipse of the picture; around it a background with much detail stands still."""
    count, arc = 8, 2.0
    pictures, _ = textured_scene.photos(count, arc=arc)
    y, x = np.mgrid[: textured_scene.HEIGHT, : textured_scene.WIDTH]
    object_ = ((x - 200) / 150) ** 2 + ((y - 150) / 120) ** 2 < 1
    background = textured_scene.photos(1, arc=1.0)[0][0].transpose(1, 0, 2)
    background = resize(np.ascontiguousarray(background), textured_scene.WIDTH, textured_scene.HEIGHT)
    photos = photos_with_labels(tmp_path / "photos", [np.where(object_[..., None], p, background) for p in pictures])
    if masks == "given":
        Image.fromarray(object_.astype(np.uint8) * 255).save(tmp_path / "mask.png")
        own = tuple(dataclasses.replace(p, mask_path=tmp_path / "mask.png") for p in photos.photos)
        photos = dataclasses.replace(photos, photos=own)
    context, _ = make_context(tmp_path / "poses")
    capture = poses.STAGE.compute(photos, dataclasses.replace(FEW, rig="turntable"), context)
    assert len(capture.views) == count
    lights = torch.stack([v.light_from_world for v in capture.views])
    turned = torch.acos(((lights.diagonal(dim1=1, dim2=2).sum(1) - 2) / 2).clamp(-1, 1))
    expected = torch.tensor([arc * k / count for k in range(count)], dtype=torch.float64)
    torch.testing.assert_close(turned, expected, atol=0.04, rtol=0)
