"""What a run exports means to an independent path tracer what it means to us: mesh, maps, cameras and light."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import config
from pipeline.discovery import Inputs
from pipeline.progress import Reporter
from pipeline.run import run
from tests.synthetic_capture import SMALL

pytest.importorskip("mitsuba")
ROOT = Path(__file__).parents[2]


def test_mitsuba_renders_the_exported_files_as_we_do(tiny_capture: Path, tmp_path: Path) -> None:
    settings = [*SMALL, "export.preview_views=2", "export.light_height_px=64"]
    run(
        config.load(settings),
        inputs=Inputs(images=(tiny_capture,)),
        out=tmp_path / "run",
        reporter=Reporter(quiet=True),
    )
    command = [sys.executable, "scripts/check_export.py", str(tmp_path / "run"), "--renderer", "mitsuba"]
    command += ["--views", "2", "--samples", "256", "--out", str(tmp_path / "compared")]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300).stdout
    mean = re.search(r"mean of 2: PSNR ([\d.]+) dB, overlap ([\d.]+)", told)
    assert mean, told
    # measured: 31.7 dB, most of it that `principled` is 6 % brighter than the glTF model; 28 is what is promised
    assert float(mean[1]) >= 28
    assert float(mean[2]) >= 0.97
