"""A run that is killed continues where it was, and ends in the same bytes as one that was left alone."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

from pipeline import config
from pipeline.discovery import Inputs
from pipeline.progress import Reporter
from pipeline.run import run
from tests.synthetic_capture import SMALL

ROOT = Path(__file__).parents[2]
SETTINGS = [*SMALL, "appearance.steps=300", "appearance.checkpoint_steps=5"]  # seconds, to be stopped in
STAGES = ["ingest", "poses", "world", "masks", "geometry", "unwrap", "appearance", "export"]


def run_here(images: Path, out: Path) -> list[str]:
    """Run in this process; returns the stages that were re-used."""
    run(config.load(SETTINGS), inputs=Inputs(images=(images,)), out=out, reporter=Reporter(quiet=True))
    return [s["name"] for s in json.loads((out / "run.json").read_text())["stages"] if s["reused"]]


def run_beside(images: Path, out: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "pipeline.cli", "run", "--images", str(images), "--out", str(out), *SETTINGS]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=ROOT, text=True, preexec_fn=_heed_interrupts, **pipes)


def _heed_interrupts() -> None:
    """Shells start what runs in the background with SIGINT ignored, and that is inherited."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_a_stopped_run_continues_to_the_bytes_of_an_undisturbed_one(tiny_capture: Path, tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert run_here(tiny_capture, whole) == []

    killed = run_beside(tiny_capture, stopped)
    while not (stopped / ".appearance.partial" / "checkpoint.safetensors").exists():
        assert killed.poll() is None, killed.communicate()[1]
        time.sleep(0.01)
    killed.kill()
    killed.communicate()
    assert not (stopped / "appearance").exists() and not (stopped / "asset.glb").exists()

    interrupted = run_beside(tiny_capture, stopped)
    lines = iter(interrupted.stdout.readline, "")
    assert any("unwrap" in line and "re-used" in line for line in lines)
    interrupted.send_signal(signal.SIGINT)
    _, told = interrupted.communicate(timeout=60)
    assert interrupted.returncode == 130, told
    assert told.count("\n") == 1 and "the same command continues" in told

    assert run_here(tiny_capture, stopped) == STAGES[:6]
    for name in ("asset.glb", "light.hdr", "cameras.json", "preview.png", "appearance/asset.safetensors"):
        assert (stopped / name).read_bytes() == (whole / name).read_bytes(), name
    assert not list(stopped.glob(".*.partial"))
    assert run_here(tiny_capture, stopped) == STAGES
