"""What tests/test_child.py runs in a child process."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from pipeline.errors import CaptureError


def echo(arguments, progress):
    progress(0.25, "quarter")
    progress(1.0, "whole")
    return arguments


def noisy(arguments, progress):
    sys.stdout.write('{"result": "forged"}\n{broken')
    sys.stdout.flush()
    os.write(1, b"\xff\xfe native print\n")
    ctypes.CDLL(None).puts(b"from C")
    return {"after": "noise"}


def refuse(arguments, progress):
    raise CaptureError("shows nothing", path=Path("a.jpg"), remedy="try again")


def fail(arguments, progress):
    raise ZeroDivisionError("a bug")


def unsayable(arguments, progress):
    return {"result": object()}


def die(arguments, progress):
    if arguments["signal"] == "SIGABRT":
        os.abort()
    os.kill(os.getpid(), signal.Signals[arguments["signal"]])
    time.sleep(60)


def half_an_answer(arguments, progress):
    for number in range(3, 100):  # the pipe back to the parent is one of these
        try:
            os.write(number, b'{"result": {"cut')
        except OSError:
            continue
    os._exit(0)


def hang(arguments, progress):
    if arguments["stubborn"]:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    inner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    Path(arguments["pids"]).write_text(f"{os.getpid()} {inner.pid}")
    progress(0.5, "hangs")
    while True:
        time.sleep(0.05)


def _count_try(arguments: dict) -> int:
    tries = Path(arguments["folder"]) / "tries"
    tries.write_text((tries.read_text() if tries.exists() else "") + "x")
    return len(tries.read_text())


def die_in_sfm(arguments: dict, progress) -> dict:
    """Die of the signal that the environment names, as native code does."""
    _count_try(arguments)
    os.kill(os.getpid(), signal.Signals[os.environ["RECON_TEST_SIGNAL"]])
    return {}


def hang_in_sfm(arguments: dict, progress) -> dict:
    """Wait for ever without work, and do not listen."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _count_try(arguments)
    time.sleep(600)
    return {}


def refuse_after_one_death(arguments: dict, progress) -> dict:
    """Die the first time, and answer the second."""
    if _count_try(arguments) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    raise CaptureError("second try")
