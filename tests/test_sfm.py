"""Structure from motion on photos whose cameras are known, and on photos without anything in common."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.config import PosesConfig
from pipeline.errors import CaptureError
from pipeline.formats.images import read_image, read_mask
from pipeline.scene import Capture, Photo, Photos
from pipeline.stages import poses
from tests import textured_scene
from tests.stage_context import make_context, picture


def as_photos(folder: Path, pictures: list[np.ndarray]) -> Photos:
    folder.mkdir(exist_ok=True)
    height, width = pictures[0].shape[:2]
    photos = []
    for k, pixels in enumerate(pictures):
        Image.fromarray(pixels).save(folder / f"{k:04d}.png")
        Image.fromarray(pixels[..., 0] // 128 * 255).save(folder / f"{k:04d}_mask.png")
        photos.append(
            Photo(
                name=f"photo {k}.jpg",
                image_path=folder / f"{k:04d}.png",
                mask_path=folder / f"{k:04d}_mask.png" if k else None,
                width=width,
                height=height,
                focal_px=None,
                camera_label="one camera",
            )
        )
    return Photos(photos=tuple(photos), poses_path=None)


@pytest.fixture(scope="module")
def scene() -> tuple[list[np.ndarray], np.ndarray]:
    """Photos and their places."""
    return textured_scene.photos(8, arc=2.0)


@pytest.fixture(scope="module")
def solved(scene: tuple, tmp_path_factory: pytest.TempPathFactory) -> tuple[Capture, np.ndarray, dict[str, float]]:
    """The posed capture, the true camera centres and the metrics."""
    folder = tmp_path_factory.mktemp("sfm")
    pictures, centers = scene
    context, warnings = make_context(folder / "poses")
    config = PosesConfig(max_features=1500, camera_model="SIMPLE_RADIAL")
    capture = poses.STAGE.compute(as_photos(folder / "photos", pictures), config, context)
    assert warnings == []
    return capture, centers, context.metrics


def test_cameras_are_found_up_to_a_similarity(solved: tuple) -> None:
    capture, truth, metrics = solved
    assert [v.name for v in capture.views] == [f"photo {k}.jpg" for k in range(8)]
    found = torch.stack([v.camera.camera_center for v in capture.views]).numpy()
    a, b = found - found.mean(0), truth - truth.mean(0)
    u, s, vt = np.linalg.svd(a.T @ b)  # Umeyama (1991), equation 40
    mirror = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    aligned = (s * mirror).sum() / (a**2).sum() * a @ (u * mirror @ vt)
    assert np.abs(aligned - b).max() < 0.02 * 2.2  # 2 % of the ring's radius
    for view in capture.views:
        assert float(view.camera.K[0, 0]) / view.camera.width == pytest.approx(
            textured_scene.FOCAL_PX / textured_scene.WIDTH, rel=0.03
        )
    assert 0 < metrics["reprojection_px"] < 1
    assert metrics["registered"] == 8 and metrics["sparse_points"] > 100


def test_points_project_onto_their_own_colours(solved: tuple) -> None:
    """Images, cameras, points and colours fit together after undistortion, by the half pixel and row 0 on top."""
    capture, _, _ = solved
    differences, chance = [], []
    for view in capture.views:
        image = read_image(view.image_path)
        assert image.shape == (view.camera.height, view.camera.width, 3)
        pixel, depth = view.camera.project(capture.points)
        x, y = pixel.floor().long().T
        framed = (depth > 0) & (x >= 0) & (y >= 0) & (x < view.camera.width) & (y < view.camera.height)
        color = image[y[framed], x[framed]] / 255
        expected = capture.point_colors[framed].numpy()
        differences.append(np.abs(color - expected).mean(1))
        chance.append(np.abs(color - np.random.default_rng(0).permutation(expected)).mean(1))
    assert np.median(np.concatenate(differences)) < 0.4 * np.median(np.concatenate(chance))


def test_masks_are_undistorted_like_their_photos(solved: tuple) -> None:
    capture, _, _ = solved
    assert capture.views[0].mask_path is None
    for view in capture.views[1:]:
        bright = read_image(view.image_path)[..., 0] >= 128
        assert (bright == (read_mask(view.mask_path).numpy() > 0.5)).mean() > 0.95


def test_photos_with_nothing_in_common_are_no_capture(tmp_path: Path) -> None:
    context, _ = make_context(tmp_path / "poses")
    photos = as_photos(tmp_path / "photos", [np.asarray(picture(k, 200, 150)) for k in range(10)])
    with pytest.raises(CaptureError, match=r"none of 10 photos could be placed.*1 of 10.*70 % overlap") as caught:
        poses.STAGE.compute(photos, PosesConfig(max_features=500), context)
    assert caught.value.exit_code == 4 and caught.value.log.is_file()


def test_too_few_placed_photos_are_no_capture(tmp_path: Path, scene: tuple) -> None:
    context, _ = make_context(tmp_path / "poses")
    strangers = [np.asarray(picture(k, textured_scene.WIDTH, textured_scene.HEIGHT)) for k in range(7)]
    photos = as_photos(tmp_path / "photos", scene[0][:4] + strangers)
    with pytest.raises(CaptureError, match=r"\d of 11 photos found a pose, 40% and 3 needed; without one: photo"):
        poses.STAGE.compute(photos, PosesConfig(max_features=1000, min_registered=0.4), context)
