"""Vertices moved to where the mesh has the masks' outlines: corners that a grid cut come back, the rest stays."""

import pytest
import torch

from pipeline.geometry.large_steps import LargeSteps, spring_laplacian
from pipeline.geometry.marching_tetrahedra import marching_tetrahedra
from pipeline.geometry.mesh_ops import face_normals
from pipeline.outlines import OutlineFit, outline_of
from pipeline.raster.cpu.backend import CpuRasterizer
from pipeline.raster.gbuffer import render_gbuffer
from pipeline.scene import Mesh
from tests.shapes import box, cameras_around, grid, points

HALF, STEPS, SAMPLES = 0.72, 80, 4
CELL = 2.6 / 24  # of the grid


def cut_cube():
    """A cube out of a coarse grid, turned so that no edge runs along it: bevelled by a part of a cell."""
    where = grid(25)
    vertices, faces = marching_tetrahedra((points(where) @ turn().double()).abs().amax(-1) - HALF, where)
    return vertices.float(), faces


def turn():
    torch.manual_seed(3)
    return torch.linalg.qr(torch.randn(3, 3))[0]


def masks_of(cameras):
    vertices, faces = box([-HALF] * 3, [HALF] * 3)
    cube = Mesh(vertices=vertices @ turn().T, faces=faces)
    for camera in cameras:
        size = camera.width * SAMPLES
        buffer = render_gbuffer(CpuRasterizer(), cube, torch.zeros_like(vertices), camera.resized(size, size))
        yield buffer.mask[0].float().reshape(camera.height, SAMPLES, camera.width, SAMPLES).mean((1, 3)).numpy()


def make_fit(masks, cameras):
    outlines = [outline_of(camera, mask, torch.device("cpu")) for camera, mask in zip(cameras, masks, strict=True)]
    return OutlineFit(*cut_cube(), outlines, CpuRasterizer())


def run(fit):
    return fit.run(STEPS, 0, lambda part: None)


@pytest.fixture(scope="module")
def fitted():
    cameras = cameras_around(24)
    masks = list(masks_of(cameras))
    fit = make_fit(masks, cameras)
    return fit, run(fit), cameras, masks


def test_outlines_come_nearer_to_the_masks(fitted):
    fit, moved, *_ = fitted
    before, _ = cut_cube()
    assert fit.error(moved) < 0.3 * fit.error(before)


def test_edges_come_back_and_faces_stay_flat(fitted):
    before, _ = cut_cube()
    after = fitted[1]
    below, still_below = (HALF - (where @ turn()).abs().sort(1).values for where in (before, after))  # of three faces
    edge, inner = below[:, 1] < 0.03, below[:, 1] > 0.25
    assert int(edge.sum()) > 100
    assert int(inner.sum()) > 100
    assert float(still_below[edge, 1].abs().mean()) < 0.5 * float(below[edge, 1].mean())  # measured .43
    off = still_below[inner, 2].abs() / CELL
    assert float(off.mean()) < 0.04  # measured .03
    assert float(off.max()) < 0.25  # measured .18


def test_no_face_turns_over(fitted):
    before, faces = cut_cube()
    turned = (face_normals(before, faces) * face_normals(fitted[1], faces)).sum(1) < 0
    assert not bool(turned.any())


def test_a_mask_that_lacks_a_part_is_not_taken_for_the_shape(fitted):
    _, good, cameras, masks = fitted
    damaged = [mask.copy() for mask in masks]
    damaged[5][:, :64] = 0  # half of the cube
    found = run(make_fit(damaged, cameras))
    assert float((found - good).norm(dim=1).max()) < 0.05


def test_the_same_seed_gives_the_same_bits(fitted):
    _, moved, cameras, masks = fitted
    assert torch.equal(run(make_fit(masks, cameras)), moved)


def test_large_steps_move_the_surroundings_along_and_no_farther_than_their_rate():
    vertices, faces = cut_cube()
    moved = LargeSteps(vertices, faces, stiffness=10.0)
    gradient = torch.zeros_like(vertices)
    gradient[7, 1] = 1.0
    for _ in range(5):
        moved.step(gradient, rate=0.01)
    way = moved.offset
    beside = torch.from_numpy(spring_laplacian(vertices, faces)[0][7].toarray()[0]) < 0
    assert float(way[7, 1]) < float(way[beside, 1].max()) < 0
    assert float(way.abs().max()) <= 5 * 0.01
    assert float(way[:, [0, 2]].abs().max()) == 0


def test_neighbours_at_a_hundredth_of_an_edge_move_as_one():
    vertices, faces = cut_cube()
    a, b = faces[0, :2].tolist()
    vertices[b] = vertices[a] + 0.01 * (vertices[b] - vertices[a])
    moved = LargeSteps(vertices, faces, stiffness=10.0)
    gradient = torch.zeros_like(vertices)
    gradient[a, 1] = 1.0
    moved.step(gradient, rate=0.01)
    assert float((moved.offset[a] - moved.offset[b]).norm()) < 1e-3 * float(moved.offset[a].norm())


def test_the_laplacian_weighs_edges_by_their_inverse_squares():
    vertices = torch.tensor([[0.0, 0, 0], [2, 0, 0], [0, 2, 0], [0, 0, 6]])
    found, mean = spring_laplacian(vertices, torch.tensor([[0, 1, 2], [0, 2, 3]]))
    laplacian = torch.from_numpy(found.toarray())
    assert mean == pytest.approx((2 + 2 + 6 + 8**0.5 + 40**0.5) / 5)
    assert float(laplacian.sum(1).abs().max()) < 1e-9
    assert torch.equal(laplacian, laplacian.T)
    assert float(laplacian[1, 3]) == 0
    assert float(laplacian[0, 1] / laplacian[0, 3]) == pytest.approx(9)
    assert float(laplacian[0, 1]) == pytest.approx(-((mean / 2) ** 2))
