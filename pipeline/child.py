"""Run a function of native code in a child process that may die without taking the run along."""

import contextlib
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pipeline.errors
from pipeline.allocator import keep_freed_memory
from pipeline.errors import NativeCrashError, ReconError, ResourceError

GRACE_S = 5.0
POLL_S = 1.0
MEMORY_POLL_S = 0.25

Arguments = dict[str, Any]
Progress = Callable[[float, str], None]


def run_child(
    target: str,
    arguments: Arguments,
    *,
    timeout_s: int | float,
    log: Path,
    progress: Progress,
    stall_s: int | float | None = None,
) -> Arguments:
    """Call `target` ("module:function") in a new Python process and return its result.

    The function takes `(arguments, progress)` and returns a dict; both dicts must survive JSON. What native
    code prints goes to `log`. Past `timeout_s`, or when the child used no processor time for `stall_s`, it gets
    SIGTERM, then SIGKILL.

    Raises:
        ReconError: The same kind that the function raised.
        NativeCrashError: When the child died or hung, with its signal.
        ResourceError: When it ran out of time.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as log_file:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.child", target],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log_file,
            start_new_session=True,
            env=_environment(),
        )
    watch = _Watch(process, timeout_s=timeout_s, stall_s=stall_s)
    watch.start()
    try:
        result = _converse(process, arguments, progress, log)
    finally:
        watch.stop()
        _kill(process)
        _close(process)
    if result is not None:
        return result
    if watch.ended == "time":
        raise ResourceError(f"{target} ran longer than {timeout_s:.0f} s", remedy="raise its timeout_s", log=log)
    code = process.returncode
    name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    how = f"hung: no processor time in {stall_s:.0f} s; ended by" if watch.ended == "stall" else "died of"
    crash = NativeCrashError(f"{target} {how} {name}", remedy="run again; if it dies again, report the log", log=log)
    crash.died_of = name
    raise crash


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a command took, with all processes that it started.

    Attributes:
        code: Its exit code; minus the signal's number when it died of one.
        wall_s: Time from start to end.
        cpu_s: Processor time of all of them.
        peak_mib: Largest resident memory of all of them together, looked at every quarter of a second; pages that
            they share count for each. None where the system has no /proc.
    """

    code: int
    wall_s: float
    cpu_s: float
    peak_mib: float | None


def run_command(arguments: Sequence[str], *, log: Path) -> Usage:
    """Run `recon` with these arguments in a process of its own; what it prints goes to `log`.

    It gets SIGTERM, then SIGKILL, when this process is interrupted.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    start, before = time.monotonic(), _children_s()
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=_environment(),
        )
    peak = None
    try:
        while process.poll() is None:
            if (now := _tree_mib(process.pid)) is not None:
                peak = max(peak or 0.0, now)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(MEMORY_POLL_S)
    finally:
        _kill(process)
    wall_s, cpu_s = time.monotonic() - start, _children_s() - before
    return Usage(code=process.returncode, wall_s=wall_s, cpu_s=cpu_s, peak_mib=peak)


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


def _children_s() -> float:
    """Processor time of all children that ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _tree_mib(root: int) -> float | None:
    """Resident memory of a process and all that descend from it; none without /proc."""
    parents, pages = dict[int, int](), dict[int, int]()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, fields = stat.read_text().rpartition(")")
        except OSError:
            continue  # it ended meanwhile
        process = int(name.split()[0])
        parents[process], pages[process] = int(fields.split()[1]), int(fields.split()[21])
    if root not in parents:
        return None
    tree = {root}
    while grown := {p for p, parent in parents.items() if parent in tree} - tree:
        tree |= grown
    return sum(pages[p] for p in tree) * os.sysconf("SC_PAGE_SIZE") / 2**20


class _Watch(threading.Thread):
    """Ends a child that ran too long or hangs; `ended` then says which: "time" or "stall"."""

    def __init__(
        self, process: subprocess.Popen[bytes], *, timeout_s: int | float, stall_s: int | float | None
    ) -> None:
        super().__init__(daemon=True)
        self.ended = ""
        self._process = process
        self._deadline = time.monotonic() + timeout_s
        self._stall_s = stall_s
        self._stopped = threading.Event()

    def run(self) -> None:
        used, since = -1.0, time.monotonic()
        pause_s = POLL_S if self._stall_s is None else min(POLL_S, self._stall_s / 4)
        while not self._stopped.wait(max(0.0, min(pause_s, self._deadline - time.monotonic()))):
            now = time.monotonic()
            if self._stall_s is not None and (spent := _processor_s(self._process.pid)) != used:
                used, since = spent, now
            if now >= self._deadline:
                self.ended = "time"
            elif self._stall_s is not None and now - since > self._stall_s:
                self.ended = "stall"
            if self.ended:
                _kill(self._process)
                return

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def _processor_s(pid: int) -> float:
    """Processor time that a process used so far, in seconds; without /proc a value that always changes."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return time.monotonic()  # so that nothing is called a hang
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _converse(
    process: subprocess.Popen[bytes], arguments: Arguments, progress: Progress, log: Path
) -> Arguments | None:
    """Send the arguments, follow the progress; return the result, or none when the child died without one."""
    if process.stdin is None or process.stdout is None:
        raise NativeCrashError("the child has no pipes", log=log)
    try:
        process.stdin.write(json.dumps(arguments).encode() + b"\n")
        process.stdin.flush()  # and stays open: its end tells the child that the run died
    except BrokenPipeError:
        return None
    for line in process.stdout:
        if not line.endswith(b"\n"):
            break  # it died in the middle of an answer
        message = json.loads(line)
        if "progress" in message:
            progress(*message["progress"])
        elif "error" in message:
            _let_end(process)
            error = message["error"]
            kind: type[ReconError] = getattr(pipeline.errors, error["kind"])
            raise kind(error["what"], path=error["path"], remedy=error["remedy"], log=log)
        else:
            _let_end(process)
            result: Arguments = message["result"]
            return result
    _let_end(process)
    return None


def _let_end(process: subprocess.Popen[bytes]) -> None:
    """Let a child that has said all end by itself: what it dies of is then its own, and not our signal."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_S)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the child and whatever it started: SIGTERM, and SIGKILL when that is ignored."""
    for stop in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            break
        try:
            os.killpg(process.pid, stop)
            process.wait(GRACE_S)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def _close(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except BrokenPipeError:
                continue


def _exit_when_orphaned() -> None:
    """Leave when the parent's end of standard input closes: the parent is gone."""
    while os.read(0, 1):
        continue
    os._exit(1)


def main(target: str) -> None:
    """Entry of the child: read the arguments, call the function, answer in JSON lines."""
    keep_freed_memory()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what native code prints must not mix with the answers
    arguments = json.loads(sys.stdin.readline())
    threading.Thread(target=_exit_when_orphaned, daemon=True).start()
    module, function = target.split(":")

    def progress(fraction: float, note: str = "") -> None:
        answers.write(json.dumps({"progress": [fraction, note]}) + "\n")

    try:
        result = getattr(importlib.import_module(module), function)(arguments, progress)
    except ReconError as error:
        path = None if error.path is None else str(error.path)
        told = {"kind": type(error).__name__, "what": error.what, "path": path, "remedy": error.remedy}
        answers.write(json.dumps({"error": told}) + "\n")
        answers.flush()
        os._exit(error.exit_code)
    answers.write(json.dumps({"result": result}) + "\n")
    answers.flush()
    os._exit(0)  # skip the destructors of native libraries


if __name__ == "__main__":
    main(sys.argv[1])
