"""What tests share: data and tools that may be absent, and a skip that says what is missing."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]

_VALIDATE = """
const validator = require(process.argv[1]);
const bytes = new Uint8Array(require('fs').readFileSync(process.argv[2]));
validator.validateBytes(bytes, {maxIssues: 100}).then(report => console.log(JSON.stringify(report)));
"""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what is marked `gpu` on machines without one."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


@pytest.fixture(autouse=True)
def _repeatable() -> None:
    """Start each test from the same random state, whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def recon_data() -> Path:
    """The folder of the larger captures, named by the environment variable RECON_DATA."""
    folder = os.environ.get("RECON_DATA")
    if not folder:
        pytest.skip("needs the larger captures: set RECON_DATA to their folder")
    path = Path(folder)
    if not path.is_dir():
        pytest.fail(f"RECON_DATA={folder} is no folder")
    return path


@pytest.fixture(scope="session")
def sample_photos() -> Path:
    """The photos of the small capture that comes with the project."""
    path = ROOT / "data" / "sample" / "photos"
    if not path.is_dir():
        pytest.skip("needs data/sample/photos")
    return path


@pytest.fixture(scope="session")
def validate_gltf() -> Callable[[Path], dict]:
    """The Khronos validator: takes a .glb, returns its report (`issues.numErrors`, `issues.messages`, ...)."""
    module = os.environ.get("RECON_GLTF_VALIDATOR")
    node = shutil.which("node")
    if not module or not node:
        pytest.skip("needs Node and the npm package gltf-validator, which scripts/test installs where npm is")

    def validate(glb: Path) -> dict:
        command = [node, "-e", _VALIDATE, module, str(glb)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        return json.loads(done.stdout)

    return validate
