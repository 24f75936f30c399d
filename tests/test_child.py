"""A child process answers, fails or dies, and the run gets a result or an error of the right kind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline import child
from pipeline.child import run_child, run_command
from pipeline.errors import CaptureError, NativeCrashError, ResourceError

ROOT = Path(__file__).parents[1]


def call(function: str, folder: Path, *, timeout_s: float = 60.0, progress=lambda fraction, note: None, **arguments):
    return run_child(
        f"tests.child_targets:{function}", arguments, timeout_s=timeout_s, log=folder / "child.log", progress=progress
    )


def gone(pid: int) -> bool:
    """Whether a process ended; one that nobody waits for counts."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_until_gone(pids: list[int]) -> None:
    for _ in range(600):
        if all(map(gone, pids)):
            return
        time.sleep(0.05)
    pytest.fail(f"still running: {[p for p in pids if not gone(p)]}")


def test_arguments_come_back_and_progress_on_the_way(tmp_path: Path) -> None:
    told = []
    sent = {"number": 0.1, "text": "ä\udcff \n", "list": [None, True]}
    assert call("echo", tmp_path, progress=lambda *p: told.append(p), **sent) == sent
    assert told == [(0.25, "quarter"), (1.0, "whole")]


def test_prints_go_to_the_log_and_do_not_forge_answers(tmp_path: Path) -> None:
    assert call("noisy", tmp_path) == {"after": "noise"}
    log = (tmp_path / "child.log").read_bytes()
    assert all(part in log for part in (b"forged", b"\xff\xfe native print", b"from C"))


def test_an_error_keeps_its_kind_and_words(tmp_path: Path) -> None:
    with pytest.raises(CaptureError) as caught:
        call("refuse", tmp_path)
    error = caught.value
    assert (error.what, error.path, error.remedy, error.log) == (
        "shows nothing",
        "a.jpg",
        "try again",
        tmp_path / "child.log",
    )


@pytest.mark.parametrize("function", ["fail", "unsayable"])
def test_a_bug_leaves_its_traceback_in_the_log(function: str, tmp_path: Path) -> None:
    with pytest.raises(NativeCrashError, match=r"exit code 1.*child\.log"):
        call(function, tmp_path)
    assert "Traceback" in (tmp_path / "child.log").read_text()


@pytest.mark.parametrize("name", ["SIGKILL", "SIGABRT", "SIGSEGV"])
def test_a_crash_is_told_with_its_signal(name: str, tmp_path: Path) -> None:
    with pytest.raises(NativeCrashError, match=f"died of {name}"):
        call("die", tmp_path, signal=name)


def test_an_answer_cut_short_is_a_crash(tmp_path: Path) -> None:
    with pytest.raises(NativeCrashError, match="exit code 0"):
        call("half_an_answer", tmp_path)


@pytest.mark.parametrize("stubborn", [False, True], ids=["obeys SIGTERM", "ignores SIGTERM"])
def test_a_hang_is_ended_with_all_it_started(stubborn: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "GRACE_S", 0.2)
    pids = tmp_path / "pids"
    with pytest.raises(ResourceError, match=r"ran longer than 3 s.*timeout_s"):
        call("hang", tmp_path, timeout_s=3, stubborn=stubborn, pids=str(pids))
    wait_until_gone([int(p) for p in pids.read_text().split()])


def test_a_child_leaves_when_its_parent_is_killed(tmp_path: Path) -> None:
    code = (
        "import json, sys, pathlib; from pipeline.child import run_child, run_command\n"
        "run_child('tests.child_targets:hang', json.loads(sys.argv[1]), timeout_s=60,"
        " log=pathlib.Path(sys.argv[2]), progress=lambda f, n: print(n, flush=True))"
    )
    pids = tmp_path / "pids"
    arguments = json.dumps({"stubborn": False, "pids": str(pids)})
    command = [sys.executable, "-c", code, arguments, str(tmp_path / "log")]
    parent = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout.readline() == "hangs\n"
    parent.kill()
    parent.communicate()
    own, inner = map(int, pids.read_text().split())
    wait_until_gone([own])
    os.kill(inner, signal.SIGKILL)  # what the child itself had started is not its parent's


def test_a_command_is_measured_with_what_it_starts(tmp_path: Path, monkeypatch) -> None:
    """A stand-in for `recon` that holds memory itself and in a child, and spends processor time in both."""
    module = tmp_path / "pipeline" / "cli.py"
    module.parent.mkdir()
    (module.parent / "__init__.py").touch()
    module.write_text(
        "import subprocess, sys, time\n"
        "work = 'import time; held = bytearray(b\"x\" * 60_000_000); end = time.process_time() + 0.6\\n'\n"
        "work += 'while time.process_time() < end: pass\\ntime.sleep(0.6)'\n"
        "child = subprocess.Popen([sys.executable, '-c', work])\n"
        "exec(work)\n"
        "child.wait()\n"
        "print('said', sys.argv[1:])\n"
        "sys.exit(7)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    usage = run_command(["run", "a b"], log=tmp_path / "logs" / "run.log")
    assert usage.code == 7
    assert "said ['run', 'a b']" in (tmp_path / "logs" / "run.log").read_text()
    assert usage.cpu_s >= 1.2 and usage.wall_s >= 1.2
    if Path("/proc/self/stat").exists():
        assert usage.peak_mib is not None and 120 < usage.peak_mib < 400


def test_a_command_ends_when_its_caller_is_interrupted(tmp_path: Path, monkeypatch) -> None:
    pids = []

    def interrupted(pid: int) -> float:
        pids.append(pid)
        raise KeyboardInterrupt

    monkeypatch.setattr(child, "_tree_mib", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_command(["run", "--images", str(tmp_path)], log=tmp_path / "run.log")
    wait_until_gone(pids)
