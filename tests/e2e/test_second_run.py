"""What the user says on a second run wins, and only what depends on it runs again."""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pipeline import cli
from pipeline.formats import capture_json
from pipeline.formats.tensors import load_asset
from tests.synthetic_capture import SMALL

FAST = [*SMALL, "appearance.steps=2"]


def run(images: Path, out: Path, *arguments: str) -> list[str]:
    """Run the command; returns the stages that were re-used."""
    assert cli.main(["run", "--images", str(images), "--out", str(out), "--quiet", *arguments, *FAST]) == 0
    return [s["name"] for s in json.loads((out / "run.json").read_text())["stages"] if s["reused"]]


def asset_from_input(out: Path) -> torch.Tensor:
    return torch.tensor(json.loads((out / "export" / "placement.json").read_text())["asset_from_input"])


def test_only_what_depends_on_the_users_word_runs_again(tiny_capture: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(cli.signal, "signal", lambda number, handler: None)  # keep the test's own
    out = tmp_path / "run"
    assert run(tiny_capture, out) == []
    before = asset_from_input(out)

    assert run(tiny_capture, out, "--up", "-1,0,0", "--distance", "0,0,0 0,0.5,0 0.25") == ["ingest", "poses"]
    after = asset_from_input(out)
    turn = torch.tensor([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])  # -X to +Y along the shortest arc
    # a ball: the longest side stays 1 to a few per cent, and half of it now measures 0.25 m
    torch.testing.assert_close(after[:3, :3], 0.5 * turn @ before[:3, :3], rtol=0, atol=0.02)
    assert json.loads((out / "export" / "placement.json").read_text())["scale"] == "metres"

    first = capture_json.load(out / "masks").views[0]
    edited = out / "masks_edited" / f"{first.image_path.stem}.png"
    edited.parent.mkdir()
    shutil.copy(first.mask_path, edited)
    mask = np.asarray(Image.open(edited).convert("L")).copy()
    mask[: len(mask) // 2] = 0
    Image.fromarray(mask).save(edited)
    same = ("--up", "-1,0,0", "--distance", "0,0,0 0,0.5,0 0.25")
    assert run(tiny_capture, out, *same) == ["ingest", "poses", "world"]
    taken = capture_json.load(out / "masks").views[0].mask_path
    assert taken == edited.resolve()
    assert run(tiny_capture, out, *same)[:4] == ["ingest", "poses", "world", "masks"]

    shutil.rmtree(edited.parent)
    lower = ("--box", "-1,-1,-1,1,0,1")
    assert run(tiny_capture, out, *lower) == ["ingest", "poses"]
    boxed = json.loads((out / "masks" / "stage.json").read_text())
    assert capture_json.load(out / "masks").object_box.tolist() == [[-1, -1, -1], [1, 0, 1]]
    assert len(capture_json.load(out / "masks").views) == 10 and "left out" not in str(boxed["warnings"])
    vertices = load_asset(out / "geometry" / "mesh.safetensors").mesh.vertices
    low, high = vertices.amin(0), vertices.amax(0)
    # the ball's lower half: its radius is 1 / 1.48 of the visible ball's; from above, its hull hangs lower than it
    torch.testing.assert_close((high - low)[[0, 2]], torch.tensor([1.35, 1.35]), rtol=0.05, atol=0)
    assert -0.85 < float(low[1]) < -0.64 and -0.05 < float(high[1]) < 0.01
