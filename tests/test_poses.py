"""Given poses are matched to the photos by name, and refused when they belong to others."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from pipeline.config import PosesConfig, WorldConfig
from pipeline.errors import CaptureError, InputError
from pipeline.scene import Capture, Photo, Photos
from pipeline.stages.poses import STAGE
from pipeline.stages.world_frame import settle
from tests.stage_context import make_context
from tests.synthetic_capture import FOCAL_PX, SIZE_PX, write_tiny_capture


@pytest.fixture
def given(tmp_path: Path) -> Photos:
    """The tiny capture as ingest leaves it."""
    folder = write_tiny_capture(tmp_path / "ball")
    photos = tuple(
        Photo(
            name=path.name,
            image_path=path,
            mask_path=None,
            width=SIZE_PX,
            height=SIZE_PX,
            focal_px=None,
            camera_label="",
        )
        for path in sorted((folder / "train").iterdir())
    )
    return Photos(photos=photos, poses_path=folder / "transforms_train.json")


def run(photos: Photos, **settings: float) -> tuple[Capture, list[str]]:
    context, warnings = make_context(photos.poses_path.parent / "poses")
    capture = STAGE.compute(photos, PosesConfig(**settings), context)
    STAGE.save(capture, context.folder)
    return settle(STAGE.load(context.folder), WorldConfig(), seed=0), warnings


def edit(photos: Photos, change) -> None:
    """Change the file of poses in place."""
    file = json.loads(photos.poses_path.read_text())
    change(file)
    photos.poses_path.write_text(json.dumps(file))


def test_given_poses_become_a_settled_capture(given: Photos) -> None:
    capture, warnings = run(given)
    assert warnings == []
    assert [v.name for v in capture.views] == [p.name for p in given.photos]
    ball = torch.zeros(1, 3, dtype=torch.float64)
    for view in capture.views:
        pixel, _ = view.camera.project(ball)
        torch.testing.assert_close(pixel[0], torch.full((2,), SIZE_PX / 2, dtype=torch.float64), atol=1e-6, rtol=0)
        assert float(view.camera.K[0, 0]) == pytest.approx(FOCAL_PX)
        assert float(view.camera.camera_center[1]) > 0  # the input's +Z became +Y
    assert capture.world_from_input[1, :2].tolist() == [0, 0]


def test_cameras_of_another_size_are_fitted_to_the_photos(given: Photos) -> None:
    edit(given, lambda file: file.update(w=2 * SIZE_PX, h=2 * SIZE_PX))
    camera = run(given)[0].views[0].camera
    assert (camera.width, camera.height) == (SIZE_PX, SIZE_PX)
    assert float(camera.K[0, 0]) == pytest.approx(FOCAL_PX)


def test_cameras_of_another_shape_are_refused(given: Photos) -> None:
    edit(given, lambda file: file.update(w=SIZE_PX, h=2 * SIZE_PX))
    with pytest.raises(InputError, match=r"transforms_train.json: ./train/000: is 96x192 px here, its photo 96x96 px"):
        run(given)


def test_poses_of_other_photos_are_refused(given: Photos) -> None:
    edit(given, lambda file: [f.update(file_path="other/" + f["file_path"][-3:] + "x") for f in file["frames"]])
    edit(given, lambda file: file.update(w=SIZE_PX, h=SIZE_PX))
    with pytest.raises(InputError, match="10 frames names one of the 10 photos, as .other/000x. .*--poses solve"):
        run(given)


def test_two_poses_of_one_photo_are_refused(given: Photos) -> None:
    edit(given, lambda file: file["frames"].append(file["frames"][3]))
    with pytest.raises(InputError, match="two of its frames mean the photo 003.png"):
        run(given)


@pytest.mark.parametrize("missing", [2, 3, 7])
def test_photos_without_a_pose_are_named(missing: int, given: Photos) -> None:
    edit(given, lambda file: file.update(frames=file["frames"][missing:]))
    if missing == 7:
        with pytest.raises(CaptureError, match="3 of 10 photos found a pose, 40% and 3 needed; without one: 000.png"):
            run(given)
        return
    capture, warnings = run(given)
    assert len(capture.views) == 10 - missing
    assert warnings == ([] if missing == 2 else ["3 of 10 photos found no pose: 000.png, 001.png, 002.png"])


def test_the_whole_name_wins_over_the_stem(given: Photos) -> None:
    first = given.photos[0]
    photos = dataclasses.replace(given, photos=(dataclasses.replace(first, name="000.jpg"), *given.photos))
    edit(given, lambda file: file["frames"][0].update(file_path="train/000.png"))
    assert [v.name for v in run(photos)[0].views][:2] == ["000.png", "001.png"]
