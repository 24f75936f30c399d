"""True models under their true light against test pictures that another renderer path-traced."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "compare_renders.py"


# Measured with 4 x 4 samples over all twelve views: see the README; with 2 x 2 the first four have these means.
@pytest.mark.parametrize(("capture", "least"), [("a_boombox", 27.5), ("a_cabinet", 35)])
def test_a_true_model_looks_as_path_traced(recon_data, capture, least):
    spec = importlib.util.spec_from_file_location("compare_renders", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    figures, sheet = script.compare(recon_data / capture, samples=2, views=4)
    assert len(figures) == 4
    assert sum(figures) / 4 > least
    assert sheet.shape[1] == 3 * 512
