"""The geometry stage on a block with a thin rod: flat faces come out flat, edges sharp, and the rod stays."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.config import GeometryConfig
from pipeline.errors import UsageError
from pipeline.formats import images
from pipeline.geometry import mesh_ops
from pipeline.raster.cpu.backend import CpuRasterizer
from pipeline.raster.gbuffer import render_gbuffer
from pipeline.scene import Capture, Mesh, View
from pipeline.stages.geometry import carve
from tests.shapes import box, camera_at
from tests.stage_context import make_context, posed

HALF, ROD, TOP = 0.5, 0.018, 0.9  # the rod is one and a half cells thick; thinner than one it falls to pieces
PX, SAMPLES = 200, 4
CELL = 1.5 / 64


def block_with_a_rod():
    block, faces = box([-HALF] * 3, [HALF] * 3)
    rod, more = box([-ROD, HALF, -ROD], [ROD, TOP, ROD])
    return Mesh(vertices=torch.cat([block, rod]), faces=torch.cat([faces, more + len(block)]))


def capture(folder: Path) -> Capture:
    """32 masks, antialiased, from around, above and below, six of them straight along the faces."""
    mesh, views = block_with_a_rod(), []
    turn = np.arange(26) * np.pi * (3 - 5**0.5)
    up = np.linspace(0.9, -0.9, 26)
    around = np.stack([np.cos(turn) * np.sqrt(1 - up**2), up, np.sin(turn) * np.sqrt(1 - up**2)], 1)
    straight = np.array([[1, 0, 0.02], [-1, 0, 0.02], [0.02, 0, 1], [0.02, 0, -1], [0.7, 0, 0.7], [-0.7, 0, 0.7]])
    for k, direction in enumerate(np.concatenate([around, straight])):
        camera = camera_at((4 * direction / np.linalg.norm(direction)).tolist(), size_px=PX, focal_px=1.6 * PX)
        buffer = render_gbuffer(
            CpuRasterizer(), mesh, torch.zeros_like(mesh.vertices), camera.resized(PX * SAMPLES, PX * SAMPLES)
        )
        mask = buffer.mask[0].float().reshape(PX, SAMPLES, PX, SAMPLES).mean((1, 3)).numpy()
        path = folder / f"{k}.png"
        images.write_png(path, (mask * 255).round().astype(np.uint8))
        views.append(
            View(
                name=path.name,
                image_path=path,
                mask_path=path,
                camera=camera,
                exposure=torch.ones(3),
                light_from_world=torch.eye(4),
            )
        )
    bounds = torch.tensor([[-0.55, -0.55, -0.55], [0.55, 0.95, 0.55]], dtype=torch.float64)
    return dataclasses.replace(posed(views), object_box=bounds, mask_dissent=0.0)


@pytest.fixture(scope="module")
def carved(tmp_path_factory) -> Mesh:
    folder = tmp_path_factory.mktemp("block")
    config = GeometryConfig(grid_resolution=65, max_faces=12_000, stereo=False)
    return carve(capture(folder), config, make_context(folder / "stage")[0])


def test_it_is_one_closed_solid(carved):
    assert mesh_ops.open_edges(carved.faces) == 0
    assert mesh_ops.signed_volume(carved.vertices, carved.faces) == pytest.approx(1.0, abs=0.05)


def test_a_rod_of_one_and_a_half_cells_stays(carved):
    x, y, z = carved.vertices.unbind(1)
    near = torch.hypot(x, z) < 2 * CELL
    assert float(y[near].max()) > TOP - 2 * CELL


def test_flat_faces_have_neither_dents_nor_bulges(carved):
    middle = carved.vertices[:, [0, 2]].abs() < 0.4
    for axis, other in ((0, 1), (2, 0)):  # the sides; the top has the rod
        on_side = middle[:, other] & (carved.vertices[:, 1].abs() < 0.4) & (carved.vertices[:, axis] > 0.4)
        assert int(on_side.sum()) > 20
        off = (carved.vertices[on_side, axis] - HALF).abs() / CELL
        assert float(off.median()) < 0.25  # measured .17
        assert float(off.max()) < 1.2  # measured 1.0, on a ridge between the outlines of two photos
        assert float(carved.normals[on_side, axis].quantile(0.05)) > np.cos(np.radians(4))  # measured 3.4 degrees


def test_corners_are_not_rounded(carved):
    corners = torch.tensor([[x, -HALF, z] for x in (-HALF, HALF) for z in (-HALF, HALF)])
    assert float(torch.cdist(corners, carved.vertices).amin(1).max()) < CELL


def test_distances_may_move_by_the_photos_before(tmp_path, carved):
    """A few steps, of which none makes more than a dent of the block."""
    config = GeometryConfig(grid_resolution=65, max_faces=12_000, stereo=False, dmtet_steps=6, joint_px=64)
    told: list[float] = []
    context = dataclasses.replace(make_context(tmp_path / "stage")[0], progress=lambda part, note: told.append(part))
    views = capture(tmp_path)
    moved = carve(views, config, context)
    assert context.metrics["dmtet_loss"] < context.metrics["dmtet_loss_before"]
    assert mesh_ops.open_edges(moved.faces) == 0
    assert mesh_ops.signed_volume(moved.vertices, moved.faces) == pytest.approx(1.0, abs=0.05)
    assert not torch.equal(moved.vertices, carved.vertices)
    assert all(later > sooner - 1e-9 for sooner, later in itertools.pairwise(told))
    with pytest.raises(UsageError, match="needs masks with outlines"):
        carve(dataclasses.replace(views, outlined=False), config, context)
