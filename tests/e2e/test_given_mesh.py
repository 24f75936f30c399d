"""A run on a mesh of the user's, from a file in the frame of the poses to the exported asset."""

import dataclasses
from pathlib import Path

import pytest
import torch

from pipeline import config
from pipeline.discovery import Inputs
from pipeline.errors import UsageError
from pipeline.progress import Reporter
from pipeline.run import run
from tests.synthetic_capture import SMALL
from tests.test_formats_meshes import write_obj
from tests.test_geometry_given import bowl


def test_a_whole_run_takes_it_and_notices_a_changed_file(tiny_capture: Path, tmp_path: Path) -> None:
    """A ball of the true radius in the frame of the poses, under a name that Hydra's grammar could not read."""
    ball = bowl(16, 32)
    height, turn = ball.vertices[:, 1] / 1.2 + 0.5 / 1.2, torch.atan2(ball.vertices[:, 0], ball.vertices[:, 2])
    polar = torch.pi * (0.01 + 0.98 * height)
    sphere = torch.stack([polar.sin() * turn.sin(), -polar.cos(), polar.sin() * turn.cos()], -1)
    (folder := tmp_path / "my, [mesh] = 1").mkdir()
    path = write_obj(dataclasses.replace(ball, vertices=sphere), folder / "ball.obj")
    settings = config.load([*SMALL, f"geometry.mesh={path}", "appearance.steps=12"])
    told: list[str] = []

    def again() -> list[str]:
        told.clear()
        reporter = Reporter(quiet=True)
        reporter.line = told.append
        run(settings, inputs=Inputs(images=(tiny_capture,)), out=tmp_path / "run", reporter=reporter)
        return [line.split()[0] for line in told if " re-used " in line]

    assert again() == []
    assert any(line.startswith("geometry") and "1024 triangles" in line for line in told)
    assert any(line.startswith("unwrap") and "561 texture coordinates" in line for line in told)
    assert "geometry" in again()
    write_obj(dataclasses.replace(ball, vertices=sphere * 0.99), path)
    reused = again()
    assert "masks" in reused and "geometry" not in reused and "export" not in reused
    assert config.load([], tmp_path / "run" / "config.yaml").geometry.mesh == str(path)


def test_a_mesh_without_given_poses_is_refused_at_the_door(tiny_capture: Path, tmp_path: Path) -> None:
    settings = config.load([*SMALL, "geometry.mesh=ball.obj"])
    for inputs, told in (
        (Inputs(images=(tiny_capture,), solve_poses=True), "none came along"),
        (Inputs(images=(tiny_capture,)), "ball.obj: does not exist"),
    ):
        with pytest.raises(UsageError, match=told):
            run(settings, inputs=inputs, out=tmp_path / "run", reporter=Reporter(quiet=True))
    assert not (tmp_path / "run").exists()
