"""The command line as a user sees it: exit codes, one line per error, no traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import cli
from pipeline.config import RunConfig
from pipeline.errors import InterruptedRunError
from tests.stage_context import picture, write_photos

ROOT = Path(__file__).parents[1]


def recon(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from pipeline.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], cwd=cwd or ROOT, capture_output=True, text=True, timeout=300
    )


def error_line(done: subprocess.CompletedProcess, code: int) -> str:
    """The error, after checking that it is all that a user has to read: warnings, and one line."""
    *before, last = done.stderr.splitlines() or [""]
    assert done.returncode == code, done.stderr
    assert last.startswith("recon: error: "), done.stderr
    assert all(line.startswith("warning: ") for line in before), done.stderr
    return last


def test_help_and_version_are_answered() -> None:
    told = recon("run", "--help")
    assert told.returncode == 0 and "--images DIR" in told.stdout and "section.key=value" in told.stdout
    assert recon("--version").stdout.startswith("recon ")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "COMMAND"),
        (("walk",), "'walk'"),
        (("run",), "--images"),
        (("run", "--images"), "--images"),
        (("run", "--images", ".", "--colour"), "unknown argument '--colour'"),
        (("run", "--images", ".", "steps"), "unknown argument 'steps'"),
        (("run", "--images", "nowhere"), "nowhere: does not exist (name the folder of your photos with --images DIR)"),
        (("run", "--images", "a.jpg"), "a.jpg: is a file"),
        (("run", "--images", ".", "--poses", "nowhere"), "nowhere: does not exist (name a file or folder of poses"),
        (("run", "--images", ".", "appearance.stepz=3"), "did you mean appearance.steps?"),
        (("run", "--images", ".", "appearance.steps=0"), "appearance.steps=0 is outside"),
        (("run", "--images", ".", "--config", "nowhere.yaml"), "nowhere.yaml: cannot be read"),
    ],
)
def test_wrong_usage_has_code_2_and_names_the_word(
    arguments: tuple[str, ...],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    write_photos(tmp_path, "a.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli.signal, "signal", lambda number, handler: None)  # keep the test's own
    assert cli.main(list(arguments)) == 2
    printed, errors = capsys.readouterr()
    assert printed == "" and errors.startswith("recon: error: ") and errors.count("\n") == 1
    assert told in errors
    assert [p.name for p in tmp_path.iterdir()] == ["a.jpg"]


def test_folders_without_enough_photos_are_rejected_by_name(tmp_path: Path) -> None:
    empty, two = tmp_path / "empty", write_photos(tmp_path / "two", "a.jpg", "b.jpg")
    empty.mkdir()
    told = error_line(recon("run", "--images", empty, "--out", tmp_path / "o1"), 3)
    assert str(empty) in told and ".jpg" in told
    told = error_line(recon("run", "--images", two, "--out", tmp_path / "o2"), 3)
    assert "2 of 2 photos usable, at least 3 needed" in told and str(two) in told and "40" in told


def test_photos_with_nothing_in_common_are_no_capture(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for k in range(10):
        picture(k, 200, 150).save(images / f"{k}.png")
    done = recon("run", "--images", images, "poses.max_features=500", cwd=tmp_path)
    told = error_line(done, 4)
    assert "none of 10 photos could be placed" in told and "[log: " in told
    out = tmp_path / "runs" / tmp_path.name  # named after the photos' parent, as "images" says nothing
    assert (out / "ingest" / "stage.json").is_file() and not (out / "poses").exists()


def test_out_must_be_a_folder_for_a_run(tmp_path: Path) -> None:
    images = write_photos(tmp_path / "photos", "a.jpg", "b.jpg", "c.jpg")
    before = sorted(images.iterdir())
    for out, code, reason in (
        (images, 2, "is the folder of the photos"),
        (Path("/proc/recon"), 5, "cannot be written"),
    ):
        told = error_line(recon("run", "--images", images, "--out", out), code)
        assert f"{out}: {reason}" in told and "--out" in told
    assert sorted(images.iterdir()) == before


def test_texts_named_like_photos_are_rejected_and_their_names_kept_off_the_terminal(tmp_path: Path) -> None:
    for name in (b"0.jpg", b"1.jpg", b"2.jpg", b"\xff\x1b[31m.jpg", "[red]é\n.jpg".encode()):
        (tmp_path / os.fsdecode(name)).write_text("no photo")
    done = recon("run", "--images", tmp_path, "--out", tmp_path / "out")
    told = error_line(done, 3)
    assert "0 of 5 photos usable" in told and "0.jpg: not an image (text)" in told
    assert done.stderr.count("warning: ") == 5
    assert "\x1b" not in done.stderr and "\\udcff\\x1b[31m.jpg" in done.stderr and "[red]é" in done.stderr


def test_a_bug_is_one_line_and_a_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def fail(*arguments: object) -> int:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(cli, "_run", fail)
    monkeypatch.setattr(cli.signal, "signal", lambda number, handler: None)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["run", "--images", str(tmp_path)]) == 6
    errors = capsys.readouterr().err
    assert errors.startswith("recon: error: internal error: ZeroDivisionError: a bug") and errors.count("\n") == 1
    assert "Traceback" in (tmp_path / "recon-error.log").read_text()


@pytest.mark.parametrize(
    ("gpu", "words", "steps"),
    [
        (True, [], 3000),
        (True, ["quality=draft"], 1500),
        (True, ["hardware=cpu"], 1000),
        (True, ["appearance.steps=9"], 9),
        (False, [], 1000),
        (False, ["hardware=gpu"], 3000),
    ],
)
def test_the_device_chooses_the_column_of_the_quality(
    gpu: bool, words: list[str], steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []

    def ended(config: RunConfig, **rest: object) -> None:
        taken.append(config)
        raise InterruptedRunError("enough")

    monkeypatch.setattr("pipeline.runtime.on_gpu", lambda config: gpu)
    monkeypatch.setattr("pipeline.run.run", ended)
    assert cli.main(["run", "--images", str(tmp_path), *words]) == InterruptedRunError.exit_code
    assert taken[0].appearance.steps == steps
