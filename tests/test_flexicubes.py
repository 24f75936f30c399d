"""FlexiCubes behind the geometry stage: kaolin's conventions, the joint fit's weights, and clear words without it."""

import math
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.nn.functional import normalize

from pipeline.config import GeometryConfig, RunConfig, RuntimeConfig
from pipeline.discovery import Inputs
from pipeline.errors import ResourceError
from pipeline.geometry.flexicubes import WEIGHTS, FlexiCubes
from pipeline.geometry.mesh_ops import face_normals, open_edges, signed_volume
from pipeline.geometry.tet_grid import TetGrid
from pipeline.progress import Reporter
from pipeline.run import run
from pipeline.runtime import make_runtime
from pipeline.stages import geometry, geometry_joint
from pipeline.stages.geometry_joint import JointFit
from tests import kaolin_stand_in
from tests.shapes import grid, points, sphere_sdf
from tests.stage_context import write_photos
from tests.test_geometry_joint import BOX, CONFIG, overlap, photos_of_ball

CPU = torch.device("cpu")
OBLONG = TetGrid(origin=torch.tensor([-1.3, -1.4, -1.5]), spacing=0.1, shape=(27, 29, 31))


@pytest.fixture
def kaolin(monkeypatch: pytest.MonkeyPatch) -> None:
    kaolin_stand_in.install(monkeypatch)


def ball(where: TetGrid, weights: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    at = points(where).reshape(-1, 3).float()
    return FlexiCubes(where, CPU)(at, at.norm(dim=1) - 1, weights)


def make_fit(steps: int = 120) -> JointFit:
    config = replace(CONFIG, surface="flexicubes", joint_steps=steps)
    return JointFit(photos_of_ball(), BOX, config, make_runtime(RuntimeConfig(device="cpu")))


def check_ball(vertices: torch.Tensor, faces: torch.Tensor) -> None:
    assert open_edges(faces) == 0
    assert signed_volume(vertices, faces) == pytest.approx(4 / 3 * math.pi, rel=0.02)
    outward = (normalize(face_normals(vertices, faces), dim=1) * normalize(vertices[faces].mean(1), dim=1)).sum(1)
    assert float(outward.min()) > 0
    assert float(outward.mean()) > 0.98


@pytest.mark.parametrize("where", [grid(25), OBLONG])
def test_a_ball_is_closed_and_faces_outwards(kaolin: None, where: TetGrid) -> None:
    vertices, faces, deviation = ball(where)
    check_ball(vertices, faces)
    assert float(deviation.min()) >= 0


def test_weights_move_vertices_and_have_gradients(kaolin: None) -> None:
    weights = torch.zeros(26 * 28 * 30, WEIGHTS, requires_grad=True)
    plain, moved = ball(OBLONG)[0], ball(OBLONG, weights)[0]
    torch.testing.assert_close(moved[: len(plain)], plain)
    assert len(moved) > len(plain)  # the middles of quads, while they are fitted
    with torch.no_grad():
        torch.testing.assert_close(ball(OBLONG, weights)[0], plain)
    ball(OBLONG, weights)[2].mean().backward()
    assert weights.grad is not None
    lower = ball(OBLONG, (weights - 0.1 * weights.grad.sign()).detach())[2].mean()
    assert float(lower) < float(ball(OBLONG)[2].mean())


def test_the_hull_can_be_taken_by_flexicubes(kaolin: None) -> None:
    where = grid(25)
    surface = GeometryConfig(surface="flexicubes")
    vertices, faces, _ = geometry._surface(sphere_sdf(points(where)).reshape(where.shape), where, surface)
    check_ball(vertices.float(), faces)


def test_a_joint_fit_finds_the_ball(kaolin: None) -> None:
    fit = make_fit()
    first = overlap(fit)
    for _ in range(60):
        fit.advance()
    assert first < 0.15
    assert overlap(fit) > 0.3
    assert float(fit.weights.detach().abs().max()) > 0.05  # of cells near the surface


def test_a_stopped_fit_continues_as_if_never_stopped(kaolin: None, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geometry_joint, "CHECKPOINT_STEPS", 4)

    whole, again = make_fit(steps=10), make_fit(steps=10)
    whole.run(tmp_path / "fit", lambda part, note: None)
    again.run(tmp_path / "fit", lambda part, note: None)  # from the checkpoint of step 8
    assert again.step == 10
    for name in geometry_joint.FITTED:
        assert torch.equal(getattr(whole, name), getattr(again, name)), name


def test_without_kaolin_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kaolin", None)
    with pytest.raises(ResourceError, match="kaolin cannot be imported") as caught:
        FlexiCubes(OBLONG, CPU)
    assert "geometry.surface" in str(caught.value.remedy)


def test_without_kaolin_a_run_is_refused_before_it_writes_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kaolin", None)
    write_photos(tmp_path / "photos", "a.jpg", "b.jpg", "c.jpg")
    config = RunConfig(geometry=GeometryConfig(surface="flexicubes"))
    inputs = Inputs(images=(tmp_path / "photos",))
    with pytest.raises(ResourceError, match="kaolin cannot be imported"):
        run(config, inputs=inputs, out=tmp_path / "run", reporter=Reporter(quiet=True))
    assert not (tmp_path / "run").exists()


def test_a_kaolin_that_is_too_old_is_told(kaolin: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kaolin.ops.conversions", ModuleType("kaolin.ops.conversions"))
    with pytest.raises(ResourceError, match="no FlexiCubes"):
        FlexiCubes(OBLONG, CPU)


def test_kaolins_own_extraction_agrees() -> None:
    pytest.importorskip("kaolin", exc_type=ImportError)
    check_ball(*ball(OBLONG)[:2])
