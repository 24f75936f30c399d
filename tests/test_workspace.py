"""A stage is computed once per key, whole or not at all, and a run's folder belongs to one process."""

import dataclasses
import errno
import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from pipeline import workspace
from pipeline.config import RuntimeConfig
from pipeline.errors import InputError, ResourceError, UsageError
from pipeline.progress import Reporter
from pipeline.runtime import make_runtime
from pipeline.workspace import Stage, StageContext, Staged, Workspace, lock

ROOT = Path(__file__).parents[1]
SOURCE = Staged(value=1, key="source")


class Adder:
    """A stage that adds its configuration to its inputs and counts how often it does."""

    def __init__(self, name: str = "adder", version: int = 1) -> None:
        self.computed = 0
        self.found: list[str] = []
        self.stage = Stage(
            name=name, version=version, compute=self.compute, save=self.save, load=self.load, summary=str
        )

    def compute(self, *values: int | StageContext) -> int:
        *numbers, context = values
        self.computed += 1
        self.found = sorted(p.name for p in context.folder.iterdir())
        context.metrics["computed"] = float(self.computed)
        context.warn("counted")
        return sum(numbers)

    def save(self, value: int, folder: Path) -> None:
        (folder / "value.txt").write_text(str(value))

    def load(self, folder: Path) -> int:
        return int((folder / "value.txt").read_text())


def at(root: Path, seed: int = 0) -> Workspace:
    root.mkdir(exist_ok=True)
    return Workspace(root=root, runtime=make_runtime(RuntimeConfig(seed=seed)), reporter=Reporter(quiet=True))


def test_a_finished_stage_is_loaded_and_not_computed_again(tmp_path: Path) -> None:
    adder, first, second = Adder(), at(tmp_path), at(tmp_path)
    assert first.stage(adder.stage, 2, SOURCE) == second.stage(adder.stage, 2, SOURCE)
    assert adder.computed == 1
    (record,), (again,) = first.records, second.records
    assert again == record | {"reused": True}
    assert record["metrics"] == {"computed": 1.0} and record["warnings"] == ["counted"] and record["summary"] == "3"
    assert record["config"] == 2 and record["wall_s"] >= 0 and record["peak_rss_mib"] > 1


def test_whatever_a_stage_depends_on_makes_it_compute_again(tmp_path: Path) -> None:
    keys = set()
    for stage, config, source, seed in (
        (Adder().stage, 2, SOURCE, 0),
        (Adder().stage, 3, SOURCE, 0),
        (Adder().stage, 2, Staged(value=1, key="other"), 0),
        (Adder().stage, 2, SOURCE, 1),
        (Adder(version=2).stage, 2, SOURCE, 0),
    ):
        space = at(tmp_path, seed)
        keys.add(space.stage(stage, config, source).key)
        assert not space.records[0]["reused"]
    assert len(keys) == 5


def test_a_change_reaches_every_later_stage_and_no_other(tmp_path: Path) -> None:
    left, right, both = Adder("left"), Adder("right"), Adder("both")
    for number in (1, 2):
        space = at(tmp_path)
        a, b = space.stage(left.stage, number, SOURCE), space.stage(right.stage, 5, SOURCE)
        assert space.stage(both.stage, 0, a, b).value == number + 7
    assert (left.computed, right.computed, both.computed) == (2, 1, 2)


def test_an_interrupted_stage_leaves_no_stamp_and_finds_its_files_again(tmp_path: Path) -> None:
    adder = Adder()

    def stop(*values: object) -> int:
        (values[-1].folder / "half.bin").touch()
        raise KeyboardInterrupt

    interrupted = dataclasses.replace(adder.stage, compute=stop)
    for config in (2, 2, 3):
        with pytest.raises(KeyboardInterrupt):
            at(tmp_path).stage(interrupted, config, SOURCE)
        assert not (tmp_path / "adder").exists()
    (tmp_path / ".adder.partial" / "old.bin").touch()
    at(tmp_path).stage(adder.stage, 3, SOURCE)
    assert adder.found == [".key", "half.bin", "old.bin"]
    with pytest.raises(KeyboardInterrupt):
        at(tmp_path).stage(interrupted, 4, SOURCE)
    at(tmp_path).stage(adder.stage, 5, SOURCE)
    assert adder.found == [".key"]
    assert not (tmp_path / ".adder.partial").exists()


@pytest.mark.parametrize("stamp", [b"", b"{", b"[]", b"null", b"\xff", b'{"key": 1}', b"[" * 100_000])
def test_a_damaged_stamp_means_computing_again(stamp: bytes, tmp_path: Path) -> None:
    adder = Adder()
    at(tmp_path).stage(adder.stage, 2, SOURCE)
    (tmp_path / "adder" / "stage.json").write_bytes(stamp)
    (tmp_path / ".adder.partial").mkdir()
    (tmp_path / ".adder.partial" / ".key").write_bytes(b"\xff")
    assert at(tmp_path).stage(adder.stage, 2, SOURCE).value == 3
    assert adder.computed == 2


def test_results_that_cannot_be_read_are_computed_again(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    adder = Adder()
    at(tmp_path).stage(adder.stage, 2, SOURCE)
    (tmp_path / "adder" / "value.txt").write_text("torn")
    assert at(tmp_path).stage(adder.stage, 2, SOURCE).value == 3
    assert adder.computed == 2
    assert "warning: adder: cannot be re-used" in capsys.readouterr().err


def failing(error: Exception) -> Stage:
    def compute(*values: object) -> int:
        raise error

    return dataclasses.replace(Adder().stage, compute=compute)


def test_a_full_disk_and_full_memory_are_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ResourceError, match="the disk is full.*MiB free.*same command continues"):
        at(tmp_path).stage(failing(OSError(errno.ENOSPC, "No space left on device")), 2, SOURCE)
    with pytest.raises(ResourceError, match="out of memory"):
        at(tmp_path).stage(failing(MemoryError()), 2, SOURCE)
    with pytest.raises(RuntimeError, match="a bug"):
        at(tmp_path).stage(failing(RuntimeError("a bug")), 2, SOURCE)
    with pytest.raises(InputError):
        at(tmp_path).stage(failing(InputError("bad photo")), 2, SOURCE)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, 0))
    with pytest.raises(ResourceError, match=r"the disk is full: 0\.0 MiB free"):
        at(tmp_path).stage(failing(RuntimeError("write failed")), 2, SOURCE)


def test_json_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    workspace.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        workspace.write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}


def test_a_run_folder_belongs_to_one_process_at_a_time(tmp_path: Path) -> None:
    code = "import sys, pathlib; from pipeline.workspace import lock\nwith lock(pathlib.Path(sys.argv[1])): input()"
    command = [sys.executable, "-c", f"{code.replace('input()', 'print(flush=True); input()')}", str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, stderr=subprocess.DEVNULL, **pipes) as other:
        assert other.stdout.readline() == "\n"
        with pytest.raises(UsageError, match=f"locked by pid {other.pid} on "):
            lock(tmp_path)
        other.kill()
    with lock(tmp_path):  # the lock of a process that died is free
        assert f"pid {os.getpid()} on " in (tmp_path / ".lock").read_text()
    lock(tmp_path).close()


def test_only_new_empty_or_own_folders_are_taken(tmp_path: Path) -> None:
    lock(tmp_path / "a" / "b").close()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.jpg").touch()
    with pytest.raises(UsageError, match=r"photos: holds 1 entries \(me\.jpg\) but no run"):
        lock(tmp_path / "photos")
    assert [p.name for p in (tmp_path / "photos").iterdir()] == ["me.jpg"]
    for path in (tmp_path / "photos" / "me.jpg", tmp_path / "photos" / "me.jpg" / "run"):
        with pytest.raises(UsageError, match="is (a file|not a folder)"):
            lock(path)


def test_a_folder_that_cannot_be_written_is_a_lack_of_resources() -> None:
    with pytest.raises(ResourceError, match="/proc/recon: cannot be written.*--out"):
        lock(Path("/proc/recon"))  # not even root makes folders there
