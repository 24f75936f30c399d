"""The child of structure from motion dies or hangs, and the run tells how, after one more try."""

import signal
from pathlib import Path

import pytest

from pipeline import child
from pipeline.config import PosesConfig
from pipeline.errors import NativeCrashError
from pipeline.scene import Photo, Photos
from pipeline.stages import poses, poses_solved
from tests.stage_context import make_context


def three_photos(folder: Path) -> Photos:
    photos = [
        Photo(
            name=f"{k}.jpg",
            image_path=folder / f"{k}.png",
            mask_path=None,
            width=40,
            height=30,
            focal_px=None,
            camera_label="",
        )
        for k in range(3)
    ]
    return Photos(photos=tuple(photos), poses_path=None)


@pytest.mark.parametrize("name", ["SIGKILL", "SIGABRT", "SIGSEGV"])
def test_a_child_that_dies_twice_ends_the_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poses_solved, "SOLVER", "tests.child_targets:die_in_sfm")
    monkeypatch.setenv("RECON_TEST_SIGNAL", name)
    context, warnings = make_context(tmp_path / "poses")
    with pytest.raises(NativeCrashError, match=f"died of {name}") as caught:
        poses.STAGE.compute(three_photos(tmp_path), PosesConfig(), context)
    assert caught.value.exit_code == 6
    assert [f"died of {name}" in w and "once more" in w for w in warnings] == [True]
    assert (context.folder / "tries").read_text() == "xx"


def test_a_child_that_hangs_and_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poses_solved, "SOLVER", "tests.child_targets:hang_in_sfm")
    monkeypatch.setattr(child, "GRACE_S", 0.2)
    context, _ = make_context(tmp_path / "poses")
    told = rf"hung: no processor time in 3 s; ended by {signal.SIGKILL.name}"
    with pytest.raises(NativeCrashError, match=told) as caught:
        poses.STAGE.compute(three_photos(tmp_path), PosesConfig(stall_s=3.0), context)
    assert caught.value.exit_code == 6
    assert (context.folder / "tries").read_text() == "xx"


def test_a_child_that_dies_once_is_forgiven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poses_solved, "SOLVER", "tests.child_targets:refuse_after_one_death")
    context, warnings = make_context(tmp_path / "poses")
    with pytest.raises(poses.CaptureError, match="second try"):
        poses.STAGE.compute(three_photos(tmp_path), PosesConfig(), context)
    assert len(warnings) == 1
