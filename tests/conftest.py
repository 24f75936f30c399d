"""What all tests share: the same random state, and skips that say what is missing."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

VALIDATE = """
const fs = require("fs"), validator = require(process.argv[1] + "/node_modules/gltf-validator");
validator.validateBytes(new Uint8Array(fs.readFileSync(process.argv[2])), {ignoredIssues: []})
  .then((report) => console.log(JSON.stringify(report)));
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


@pytest.fixture
def validate():
    """The Khronos validator's report on a file; needs node and RECON_GLTF_VALIDATOR, the folder of the npm package."""
    folder, node = os.environ.get("RECON_GLTF_VALIDATOR", ""), shutil.which("node")
    if node is None or not folder or not Path(folder, "node_modules", "gltf-validator").is_dir():
        pytest.skip("node, or the package gltf-validator in $RECON_GLTF_VALIDATOR/node_modules, is missing")

    def run(path):
        command = [node, "-e", VALIDATE, str(Path(folder).resolve()), str(path)]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    return run
