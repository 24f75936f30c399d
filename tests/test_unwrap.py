"""Both unwrappers give charts that lie apart inside the texture, fit the faces and stretch little."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.child import run_child
from pipeline.config import UnwrapConfig
from pipeline.errors import NativeCrashError, ResourceError
from pipeline.scene import Asset, Mesh
from pipeline.stages import unwrap
from tests.stage_context import make_context

SIZE_PX = 512


def ball(rings: int = 12, sectors: int = 24) -> Mesh:
    """A closed sphere: poles, rings, and triangles counter-clockwise seen from outside."""
    polar = torch.pi * torch.arange(1, rings) / rings
    turn = 2 * torch.pi * torch.arange(sectors) / sectors
    p, t = torch.meshgrid(polar, turn, indexing="ij")
    middle = torch.stack([p.sin() * t.cos(), p.cos(), -p.sin() * t.sin()], -1).reshape(-1, 3)
    vertices = torch.cat([torch.tensor([[0.0, 1, 0], [0, -1, 0]]), middle])
    faces = []
    for j in range(sectors):
        k = (j + 1) % sectors
        faces.append((0, 2 + j, 2 + k))
        faces.append((1, 2 + (rings - 2) * sectors + k, 2 + (rings - 2) * sectors + j))
        for row in range(rings - 2):
            a, b = 2 + row * sectors, 2 + (row + 1) * sectors
            faces += [(a + j, b + j, b + k), (a + j, b + k, a + k)]
    return Mesh(vertices=vertices, faces=torch.tensor(faces))


def run(method: str, folder: Path) -> tuple[Asset, dict[str, float], list[str]]:
    context, warnings = make_context(folder)
    config = UnwrapConfig(method=method, pack_px=SIZE_PX, padding_px=4)
    asset = unwrap.STAGE.compute(ball(), config, context)
    unwrap.STAGE.save(asset, folder)
    return unwrap.STAGE.load(folder), context.metrics, warnings


def coverage(corners: np.ndarray) -> np.ndarray:
    """How many of the triangles (in pixels) hold each pixel's centre, by signed areas in float64."""
    count = np.zeros((SIZE_PX, SIZE_PX), int)
    for triangle in corners:
        low, high = np.floor(triangle.min(0)).astype(int), np.ceil(triangle.max(0)).astype(int)
        x, y = np.meshgrid(np.arange(low[0], high[0]) + 0.5, np.arange(low[1], high[1]) + 0.5)
        sides = []
        for a, b in ((0, 1), (1, 2), (2, 0)):
            (ax, ay), (bx, by) = triangle[a], triangle[b]
            sides.append((bx - ax) * (y - ay) - (by - ay) * (x - ax))
        inside = np.all(np.array(sides) > 1e-9, 0) | np.all(np.array(sides) < -1e-9, 0)
        count[low[1] : high[1], low[0] : high[0]] += inside
    return count


@pytest.fixture(scope="module", params=["xatlas", "uvunwrap"])
def unwrapped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Asset:
    asset, metrics, warnings = run(request.param, tmp_path_factory.mktemp(request.param))
    assert warnings == [] and metrics["uvs"] == len(asset.mesh.uvs)
    return asset


def test_the_mesh_itself_is_untouched(unwrapped: Asset) -> None:
    assert torch.equal(unwrapped.mesh.vertices, ball().vertices)
    assert torch.equal(unwrapped.mesh.faces, ball().faces)
    assert unwrapped.material is None and unwrapped.environment is None


def test_coordinates_lie_in_the_texture_and_all_are_used(unwrapped: Asset) -> None:
    mesh = unwrapped.mesh
    assert 0 <= float(mesh.uvs.min()) and float(mesh.uvs.max()) <= 1
    assert mesh.uv_faces.shape == mesh.faces.shape
    assert sorted(set(mesh.uv_faces.flatten().tolist())) == list(range(len(mesh.uvs)))


def test_charts_do_not_overlap(unwrapped: Asset) -> None:
    count = coverage((unwrapped.mesh.uvs[unwrapped.mesh.uv_faces] * SIZE_PX).double().numpy())
    assert count.max() == 1
    assert 0.35 < (count == 1).mean() < 0.95  # padding and the gaps between round charts cost a third


def test_charts_keep_their_distance(unwrapped: Asset) -> None:
    """No pixel is next to two charts: bilinear lookups never mix what lies apart on the surface."""
    mesh = unwrapped.mesh
    chart = torch.arange(len(mesh.uvs))
    for _ in range(len(mesh.uvs)):  # connected parts, by the smallest index
        least = chart[mesh.uv_faces].amin(1)
        spread = chart.scatter_reduce(0, mesh.uv_faces.flatten(), least.repeat_interleave(3), "amin")
        if torch.equal(spread, chart):
            break
        chart = spread
    corners = (mesh.uvs[mesh.uv_faces] * SIZE_PX).double().numpy()
    grown = np.zeros((SIZE_PX, SIZE_PX), int)
    of_face = chart[mesh.uv_faces[:, 0]].numpy()
    for part in np.unique(of_face):
        held = coverage(corners[of_face == part]) > 0
        padded = np.pad(held, 1)
        near = [padded[i : i + SIZE_PX, j : j + SIZE_PX] for i in range(3) for j in range(3)]
        grown += np.any(near, 0)
    assert grown.max() == 1


def test_corners_belong_to_their_faces_and_stretch_little(unwrapped: Asset) -> None:
    mesh = unwrapped.mesh

    def edges(points: torch.Tensor) -> torch.Tensor:
        return torch.linalg.norm(points - points.roll(1, 1), dim=-1)

    ratio = edges(mesh.uvs[mesh.uv_faces]) / edges(mesh.vertices[mesh.faces])
    spread = ratio / ratio.median()
    # a hemisphere flattened without tears stretches its rim by pi / 2
    assert 0.5 < float(spread.min()) and float(spread.max()) < 2.0
    assert float(spread.std()) < 0.25


@pytest.mark.parametrize("failure", [NativeCrashError("died of SIGSEGV"), ResourceError("ran longer than 1 s")])
def test_when_one_library_dies_the_other_takes_over(
    failure: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dying(target: str, arguments: dict, **rest: object) -> dict:
        if arguments["method"] == "xatlas":
            raise failure
        return run_child(target, arguments, **rest)

    monkeypatch.setattr(unwrap, "run_child", dying)
    asset, _, warnings = run("xatlas", tmp_path)
    assert asset.mesh.uvs is not None
    assert len(warnings) == 1 and warnings[0].startswith("xatlas failed: ") and "other unwrapper" in warnings[0]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["asset.safetensors", "unwrap.log"]


def test_when_both_die_the_last_error_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dying(target: str, arguments: dict, **rest: object) -> dict:
        raise NativeCrashError(f"{arguments['method']} died")

    monkeypatch.setattr(unwrap, "run_child", dying)
    with pytest.raises(NativeCrashError, match="xatlas died"):
        run("uvunwrap", tmp_path)
