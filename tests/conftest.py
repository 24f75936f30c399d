"""What all tests share: the same random state, and skips that say what is missing."""

import os
from pathlib import Path

import pytest
import torch


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
