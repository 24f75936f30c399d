"""The tiny capture that whole runs are tried on."""

from pathlib import Path

import pytest

from tests.synthetic_capture import write_tiny_capture


@pytest.fixture(scope="session")
def tiny_capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ten posed photos of a ball."""
    return write_tiny_capture(tmp_path_factory.mktemp("tiny") / "ball")
