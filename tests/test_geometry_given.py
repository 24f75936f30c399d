"""A mesh of the user's lies where the poses say, keeps its surface and coordinates, and is refused elsewhere."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.config import GeometryConfig, UnwrapConfig
from pipeline.errors import InputError, UsageError
from pipeline.formats.meshes import read_mesh
from pipeline.frames import rotation_to_y_up
from pipeline.geometry import mesh_ops
from pipeline.raster.cpu import CpuRasterizer
from pipeline.raster.gbuffer import render_gbuffer
from pipeline.scene import Capture, Mesh, View
from pipeline.stages import geometry, unwrap
from pipeline.stages.unwrap_given import why_unusable
from tests.shapes import cameras_around
from tests.stage_context import make_context, posed
from tests.test_formats_meshes import WRITERS, write_obj

# The frame of the poses: another unit, another origin, +Z up.
WORLD_FROM_INPUT = torch.eye(4, dtype=torch.float64)
WORLD_FROM_INPUT[:3, :3] = 0.2 * rotation_to_y_up(torch.tensor([0.0, 0.0, 1.0]))
WORLD_FROM_INPUT[:3, 3] = torch.tensor([0.1, -0.2, 0.3])


INSIDE = (
    "26% of what the photos show of {} faces away from them and takes no colour: turn its triangles, or give thin "
    "parts two sides"
)


def bowl(rings: int = 8, segments: int = 24) -> Mesh:
    """An open, lopsided sheet in the world, seen from outside, with one chart."""
    turn, height = torch.meshgrid(
        torch.linspace(0, 2 * torch.pi, segments + 1), torch.linspace(0, 1, rings + 1), indexing="ij"
    )
    radius = 0.4 + 0.3 * height + 0.1 * turn.cos()
    position = torch.stack([radius * turn.sin(), 1.2 * height - 0.5, radius * turn.cos()], -1)
    position[-1] = position[0]
    uvs = torch.stack([0.05 + 0.9 * turn / (2 * torch.pi), 0.95 - 0.9 * height], -1).reshape(-1, 2)
    a = (torch.arange(segments)[:, None] * (rings + 1) + torch.arange(rings)).reshape(-1)
    b = a + rings + 1
    uv_faces = torch.cat([torch.stack([a, b, b + 1], 1), torch.stack([a, b + 1, a + 1], 1)])
    vertices, index = torch.unique(position.reshape(-1, 3), dim=0, return_inverse=True)
    return Mesh(vertices=vertices, faces=index[uv_faces], uvs=uvs, uv_faces=uv_faces)


def in_poses_frame(mesh: Mesh) -> Mesh:
    inverse = torch.linalg.inv(WORLD_FROM_INPUT)
    return dataclasses.replace(mesh, vertices=(mesh.vertices.double() @ inverse[:3, :3].mT + inverse[:3, 3]).float())


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    folder, mesh, views = tmp_path_factory.mktemp("masks"), bowl(), []
    for k, camera in enumerate(cameras_around(9)):
        normals = torch.zeros_like(mesh.vertices)
        mask = render_gbuffer(CpuRasterizer(), mesh, normals, camera).mask[0].numpy()
        Image.fromarray(mask.astype(np.uint8) * 255).save(folder / f"{k}.png")
        views.append(
            View(
                name=f"{k}.png",
                image_path=folder / f"{k}.png",
                mask_path=folder / f"{k}.png",
                camera=camera,
                exposure=torch.ones(3),
                light_from_world=torch.eye(4),
            )
        )
    box = torch.stack([mesh.vertices.amin(0), mesh.vertices.amax(0)]).double()
    return dataclasses.replace(posed(views), object_box=box, world_from_input=WORLD_FROM_INPUT)


def placed(
    capture: Capture, mesh: Mesh, folder: Path, name: str = "mesh.obj", **settings: int
) -> tuple[Mesh, dict[str, float], list[str]]:
    """The mesh, written in the frame of the poses, after the stage; its metrics and warnings."""
    context, warnings = make_context(folder / "geometry")
    given = read_mesh(WRITERS[name](in_poses_frame(mesh), folder / name))
    shaped = geometry.STAGE.compute(capture, given, GeometryConfig(**settings), context)
    geometry.STAGE.save(shaped, folder / "geometry")
    return geometry.STAGE.load(folder / "geometry"), context.metrics, warnings


def centroids(mesh: Mesh) -> torch.Tensor:
    middle = mesh.vertices[mesh.faces].mean(1)
    return middle[np.lexsort(middle.numpy().round(4).T)]


@pytest.mark.parametrize("name", WRITERS)
def test_it_comes_out_in_the_world_whole_and_open(name: str, capture: Capture, tmp_path: Path) -> None:
    mesh, metrics, warnings = placed(capture, bowl(), tmp_path, name)
    assert warnings == [INSIDE.format(name)]
    torch.testing.assert_close(centroids(mesh), centroids(bowl()), atol=1e-5, rtol=0)
    assert metrics["faces"] == len(bowl().faces) and metrics["open_edges"] == 48
    assert metrics["mask_iou"] > 0.98 and mesh_ops.has_border(mesh.vertices, mesh.faces)
    context, warnings = make_context(tmp_path / "unwrap")
    kept = unwrap.STAGE.compute(mesh, UnwrapConfig(), context).mesh
    assert warnings == [] and not (tmp_path / "unwrap" / "unwrap.log").exists()
    want, got = (
        m.uvs[m.uv_faces].mean(1)[np.lexsort(m.vertices[m.faces].mean(1).numpy().round(4).T)] for m in (bowl(), kept)
    )
    torch.testing.assert_close(got, want, atol=1e-5, rtol=0)


def test_a_file_that_an_exporter_turned_to_y_up_is_turned_back(capture: Capture, tmp_path: Path) -> None:
    to_y_up = torch.eye(4, dtype=torch.float64)
    to_y_up[:3, :3] = rotation_to_y_up(torch.tensor([0.0, 0.0, 1.0]))
    inverse = torch.linalg.inv(WORLD_FROM_INPUT)
    change = (WORLD_FROM_INPUT @ to_y_up @ inverse)[:3]
    turned = dataclasses.replace(bowl(), vertices=(bowl().vertices.double() @ change[:, :3].mT + change[:, 3]).float())
    mesh, metrics, warnings = placed(capture, turned, tmp_path)
    assert "turned from +Y up to +Z up" in warnings[0] and warnings[1:] == [INSIDE.format("mesh.obj")]
    assert metrics["mask_iou"] > 0.98
    torch.testing.assert_close(centroids(mesh), centroids(bowl()), atol=1e-5, rtol=0)


def test_triangles_inside_out_are_turned_round(capture: Capture, tmp_path: Path) -> None:
    mesh = bowl()
    inside_out = dataclasses.replace(mesh, faces=mesh.faces[:, [0, 2, 1]], uv_faces=mesh.uv_faces[:, [0, 2, 1]])
    again, metrics, warnings = placed(capture, inside_out, tmp_path)
    assert any("turned round" in w for w in warnings) and metrics["facing"] > 0.5
    context, _ = make_context(tmp_path / "again")
    same = geometry.STAGE.compute(
        capture, read_mesh(write_obj(in_poses_frame(mesh), tmp_path / "b.obj")), GeometryConfig(), context
    )
    assert torch.equal(again.vertices[again.faces].mean(1), same.vertices[same.faces].mean(1))
    a, b = (mesh_ops.face_normals(m.vertices, m.faces) for m in (again, same))
    assert float((a * b).sum(1).min()) > 0


def test_more_triangles_than_the_budget_are_kept_and_told(capture: Capture, tmp_path: Path) -> None:
    mesh, _, warnings = placed(capture, bowl(), tmp_path, max_faces=100)
    assert len(mesh.faces) == 384
    assert warnings == [
        "mesh.obj has 384 triangles, over geometry.max_faces=100: all are kept",
        INSIDE.format("mesh.obj"),
    ]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda v: v + torch.tensor([0.0, 500.0, 0]), "is seen by no photo: its middle is at"),
        (lambda v: v * 0.05, "fits the masks to 0.0"),
    ],
)
def test_a_mesh_elsewhere_is_refused_with_both_places(change, told: str, capture: Capture, tmp_path: Path) -> None:
    moved = dataclasses.replace(bowl(), vertices=change(bowl().vertices))
    with pytest.raises(InputError, match="in the frame and the unit of the poses") as caught:
        placed(capture, moved, tmp_path)
    assert told in str(caught.value) and "mesh.obj" in str(caught.value)
    center = torch.linalg.inv(WORLD_FROM_INPUT) @ torch.cat([capture.object_box.mean(0), torch.ones(1)])
    assert f"in the photos at ({', '.join(f'{x:.4g}' for x in center[:3].tolist())})" in str(caught.value)


def test_solved_poses_have_no_frame_for_it(capture: Capture, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--poses"):
        placed(dataclasses.replace(capture, poses_given=False), bowl(), tmp_path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda uv: uv * 2, "outside 0 .. 1"),
        (lambda uv: torch.stack([(uv[:, 0] - 0.5).abs(), uv[:, 1]], 1), "of their area overlaps, limit 2%"),
        (lambda uv: torch.full_like(uv, 0.5), "has no area in the texture"),
    ],
)
def test_coordinates_that_cannot_hold_a_texture_are_made_anew(change, told: str, tmp_path: Path) -> None:
    context, warnings = make_context(tmp_path / "unwrap")
    mesh = dataclasses.replace(bowl(), uvs=change(bowl().uvs))
    made = unwrap.STAGE.compute(mesh, UnwrapConfig(method="uvunwrap", pack_px=256), context).mesh
    assert len(warnings) == 1 and "texture coordinates of the mesh are not kept" in warnings[0] and told in warnings[0]
    assert why_unusable(made, context.runtime.rasterizer)[0] == ""
