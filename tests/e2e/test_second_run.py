"""What the user says on a second run wins, and only what depends on it runs again."""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pipeline import cli
from pipeline.formats import capture_json
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
