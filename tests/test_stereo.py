"""Stereo inside of the hull: a painted bowl that no outline tells from a solid block, and a mirror of noise."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from pipeline.config import GeometryConfig
from pipeline.formats import images
from pipeline.geometry.depth_fusion import WALL, fuse_depths, within_hull
from pipeline.geometry.marching_tetrahedra import marching_tetrahedra
from pipeline.geometry.stereo_depth import StereoView, match_view
from pipeline.geometry.tet_grid import TetGrid, grid_in_box
from pipeline.scene import Camera, Capture, Mesh, View
from pipeline.stages.geometry import carve
from pipeline.stages.geometry_stereo import SPREAD, TRUST, carve_hollows
from pipeline.stages.masks_methods import box_silhouette
from tests.stage_context import make_context, posed

SIZE, FOCAL, DISTANCE = 160, 260.0, 3.2
GLITTER = 0.06  # standard deviation; the paint has .2
HALF = 0.5  # a cube with a bowl in its top, whose surface is a ball's
MIDDLE, RADIUS = np.array([0.0, 0.75, 0.0]), 0.5
NOISE = ndimage.gaussian_filter(np.random.default_rng(3).standard_normal((6, 256, 256)), (0, 4, 4))
NOISE = (0.5 + NOISE / (5 * NOISE.std())).clip(0, 1)


def _camera(azimuth: float, height: float) -> Camera:
    center = DISTANCE * np.array(
        [math.cos(azimuth) * math.cos(height), math.sin(height), math.sin(azimuth) * math.cos(height)]
    )
    forward = -center / DISTANCE
    right = np.cross(forward, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward])
    pose[:3, 3] = -pose[:3, :3] @ center
    K = torch.tensor([[FOCAL, 0, SIZE / 2], [0, FOCAL, SIZE / 2], [0, 0, 1]], dtype=torch.float64)
    return Camera(K=K, cam_from_world=torch.from_numpy(pose), width=SIZE, height=SIZE)


def _cameras() -> list[Camera]:
    ring = [_camera(2 * math.pi * k / 14, 0.55) for k in range(14)]
    return ring + [_camera(2 * math.pi * k / 10 + 0.2, 1.0) for k in range(10)]


def _rays(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    pixel = (np.arange(SIZE) + 0.5 - SIZE / 2) / FOCAL
    x, y = np.meshgrid(pixel, pixel)
    ray = np.stack([x, y, np.ones_like(x)], -1) @ camera.cam_from_world[:3, :3].numpy()
    return ray, camera.camera_center.numpy()


def _bowl(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Photo and depth of the cube with the bowl, painted with noise."""
    ray, center = _rays(camera)
    crossing = (np.array([[-HALF] * 3, [HALF] * 3])[:, None, None] - center) / ray
    near, axis = crossing.min(0).max(-1), crossing.min(0).argmax(-1)
    hit = near < crossing.max(0).min(-1)
    depth = np.where(hit, near, 0.0)
    place = center + depth[..., None] * ray
    scooped = hit & (axis == 1) & (np.linalg.norm(place - MIDDLE, axis=-1) < RADIUS)
    along, reach = ((center - MIDDLE) * ray).sum(-1), ((center - MIDDLE) ** 2).sum() - RADIUS**2
    square = (ray**2).sum(-1)
    inside = (-along + np.sqrt((along**2 - square * reach).clip(0))) / square
    depth = np.where(scooped, inside, depth)
    place = center + depth[..., None] * ray
    sheet = np.where(scooped, 3, np.where(axis == 1, 4, axis))
    u = np.where((axis == 0) & ~scooped, place[..., 1], place[..., 0])
    v = np.where((axis == 2) & ~scooped, place[..., 1], place[..., 2])
    photo = np.stack([ndimage.map_coordinates(NOISE[k], [(v + 0.6) * 200, (u + 0.6) * 200], order=1) for k in range(5)])
    return np.where(hit, np.take_along_axis(photo, sheet[None], 0)[0], 0.0), depth


def _cube(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Depth and normals of the cube's front in the camera's frame: its hull, as no outline shows the bowl."""
    ray, center = _rays(camera)
    crossing = (np.array([[-HALF] * 3, [HALF] * 3])[:, None, None] - center) / ray
    near, axis = crossing.min(0).max(-1), crossing.min(0).argmax(-1)
    hit = near < crossing.max(0).min(-1)
    normal = np.eye(3)[axis] * -np.sign(np.take_along_axis(ray, axis[..., None], 2))
    return np.where(hit, near, 0.0), normal @ camera.cam_from_world[:3, :3].numpy().T


def _stereo_view(camera: Camera) -> StereoView:
    near, normal = _cube(camera)
    return StereoView(
        camera=camera,
        luma=_bowl(camera)[0].astype(np.float32),
        near=np.where(near > 0, near - 0.02, 0).astype(np.float32),
        far=np.where(near > 0, near + 0.8, 0).astype(np.float32),
        normal=np.ascontiguousarray(normal, np.float32),
    )


def test_depth_of_a_hollow_that_starts_from_its_lid() -> None:
    cameras = _cameras()[:3]
    views = [_stereo_view(c) for c in cameras]
    found = match_view(views[1], [views[0], views[2]], sweeps=4, seed=0)
    truth = _bowl(cameras[1])[1]
    lid = _cube(cameras[1])[0]
    hollow = (truth > lid + 0.1) & (truth > 0)
    assert hollow.sum() > 500
    error = np.abs(found.depth - truth)[hollow]
    assert np.median(error) < 0.01  # a pixel is .012 wide
    assert (error < 0.05).mean() > 0.75


def test_the_same_seed_finds_the_same_depth() -> None:
    views = [_stereo_view(c) for c in _cameras()[:3]]
    one, two = (match_view(views[1], [views[0], views[2]], sweeps=2, seed=5).depth for _ in range(2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, match_view(views[1], [views[0], views[2]], sweeps=2, seed=6).depth)


def test_a_photo_without_neighbours_keeps_the_hull() -> None:
    view = _stereo_view(_cameras()[0])
    found = match_view(view, [], sweeps=2, seed=0)
    assert (found.cost[view.near > 0] == 2.0).all()  # the worst there is: such depths are not believed


def _box_distance(grid: TetGrid, half: float) -> torch.Tensor:
    points = grid.positions(torch.arange(math.prod(grid.shape))).reshape(*grid.shape, 3)
    return (points.abs() - half).amax(-1).float()


def _capture(
    folder: Path, paint: Callable[[int, np.ndarray], np.ndarray], cameras: list[Camera] | None = None
) -> Capture:
    views = []
    for k, camera in enumerate(cameras or _cameras()):
        photo, depth = _bowl(camera)
        grey = (paint(k, photo) * 255).round().astype(np.uint8)
        image, mask = folder / f"{k}.png", folder / f"{k}_mask.png"
        images.write_png(image, np.repeat(grey[..., None], 3, 2))
        images.write_png(mask, np.where(depth > 0, 255, 0).astype(np.uint8))
        views.append(
            View(
                name=image.name,
                image_path=image,
                mask_path=mask,
                camera=camera,
                exposure=torch.ones(3),
                light_from_world=torch.eye(4),
            )
        )
    box = torch.tensor([[-0.55] * 3, [0.55] * 3], dtype=torch.float64)
    return dataclasses.replace(posed(views), object_box=box)


def _carved(capture: Capture, folder: Path) -> tuple[TetGrid, torch.Tensor, torch.Tensor, dict[str, float]]:
    grid = grid_in_box(capture.object_box, resolution=65)
    hull = _box_distance(grid, HALF)
    vertices, faces = marching_tetrahedra(hull, grid)
    context, _ = make_context(folder)
    mesh = Mesh(vertices=vertices.float(), faces=faces)
    carved = carve_hollows(
        capture,
        grid,
        hull,
        mesh,
        config=GeometryConfig(stereo_px=6000),
        context=context,
        progress=lambda _part, _note: None,
    )
    return grid, hull, carved, dict(context.metrics)


def test_a_bowl_is_hollowed(tmp_path: Path) -> None:
    grid, hull, carved, figures = _carved(_capture(tmp_path, lambda _, photo: photo), tmp_path)
    points = grid.positions(torch.arange(math.prod(grid.shape))).reshape(*grid.shape, 3).numpy()
    from_middle = np.linalg.norm(points - MIDDLE, axis=-1)
    in_cube = (hull < -grid.spacing).numpy()
    air, solid = in_cube & (from_middle < RADIUS - 0.04), in_cube & (from_middle > RADIUS + 0.04)
    assert (carved.numpy()[air] > 0).mean() > 0.9
    assert (carved.numpy()[solid] < 0).mean() > 0.995
    assert bool((carved >= hull).all())  # nothing grows out of the hull
    assert figures["stereo_share"] > 0.5


def test_where_photos_disagree_the_hull_stays(tmp_path: Path) -> None:
    """Each photo of another paint, as a mirror shows each another part of the room."""
    generator = np.random.default_rng(1)

    def unlike(_: int, photo: np.ndarray) -> np.ndarray:
        noise = ndimage.gaussian_filter(generator.standard_normal(photo.shape), 1.6)
        return (0.5 + noise / (5 * noise.std())).clip(0, 1)

    _, hull, carved, figures = _carved(_capture(tmp_path, unlike), tmp_path)
    assert figures["stereo_share"] < 0.01
    assert float((carved - hull)[hull.abs() < 0.1].max()) < 0.005


def test_a_bowl_that_glitters_is_hollowed_too(tmp_path: Path) -> None:
    """Each photo adds a glitter of its own: hardly a match correlates well, but nearly all photos agree on depths."""
    generator = np.random.default_rng(2)

    def glittering(_: int, photo: np.ndarray) -> np.ndarray:
        noise = ndimage.gaussian_filter(generator.standard_normal(photo.shape), 1.2)
        return (photo + GLITTER * noise / noise.std()).clip(0, 1)

    grid, _, carved, figures = _carved(_capture(tmp_path, glittering), tmp_path)
    assert figures["stereo_share"] > 0.5
    middle = grid.positions(torch.arange(math.prod(grid.shape))).reshape(*grid.shape, 3)
    deep = (middle[..., 1] < HALF - grid.spacing) & ((middle - torch.from_numpy(MIDDLE)).norm(dim=-1) < RADIUS - 0.06)
    assert float((carved[deep] > 0).float().mean()) > 0.8


def test_without_outlines_the_object_is_found_in_its_box(tmp_path: Path) -> None:
    """The masks hold all that the box projects to; before, stereo clung to the front of the box."""
    below = [_camera(2 * math.pi * k / 14, -0.55) for k in range(14)]
    below += [_camera(2 * math.pi * k / 10 + 0.2, -1.0) for k in range(10)]
    capture = _capture(tmp_path, lambda _, photo: photo, _cameras() + below)
    box = torch.tensor([[-0.8] * 3, [0.8] * 3], dtype=torch.float64)
    for view in capture.views:
        assert view.mask_path is not None
        images.write_mask(view.mask_path, torch.from_numpy(box_silhouette(view.camera, box)))
    capture = dataclasses.replace(capture, object_box=box, outlined=False)
    context, _ = make_context(tmp_path)
    mesh = carve(capture, GeometryConfig(grid_resolution=65, stereo_px=6000), context)
    from_middle = (mesh.vertices - torch.from_numpy(MIDDLE)).norm(dim=1)
    from_cube = (mesh.vertices.abs().amax(1) - HALF).abs()
    off = torch.where(from_middle < RADIUS + 0.1, (from_middle - RADIUS).abs(), from_cube)
    assert float(off.median()) < 0.02  # the box is .3 away
    assert float((off < 0.05).float().mean()) > 0.8  # measured .89; the rest is air that no photo looks through


def _facing_z() -> tuple[TetGrid, torch.Tensor, torch.Tensor, Camera]:
    """A grid with its points' x and z, and a camera that looks along +z from 2 in front of its middle."""
    grid = grid_in_box(torch.tensor([[-0.5] * 3, [0.5] * 3], dtype=torch.float64), resolution=51)
    x, _, z = grid.positions(torch.arange(math.prod(grid.shape))).reshape(*grid.shape, 3).unbind(-1)
    K = torch.tensor([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]], dtype=torch.float64)
    pose = torch.eye(4, dtype=torch.float64)
    pose[2, 3] = 2.0
    return grid, x, z, Camera(K=K, cam_from_world=pose, width=100, height=100)


@pytest.mark.parametrize("offset", [0.05, 0.1])
def test_an_offset_is_taken_where_it_is_told_and_fades_elsewhere(offset: float) -> None:
    """Eight photos show the right half of a wall that lies `offset` behind the hull's."""
    grid, _, z, camera = _facing_z()
    hull = -(z + 0.3).float()  # solid where z > -.3
    depth = np.full((100, 100), 1.7 + offset, np.float32)
    depth[:, :50] = 0
    weight = (depth > 0).astype(np.float32)
    fused = fuse_depths(grid, hull, [camera] * 8, [depth] * 8, [weight] * 8, truncation=0.04, spread=3.0)
    crossing = [float(np.interp(0, -fused[i, 25].numpy(), z[i, 25].numpy())) for i in (5, 45)]
    assert crossing[1] == pytest.approx(-0.3 + offset, abs=0.006)
    assert crossing[0] == pytest.approx(-0.3, abs=0.006)


def test_no_ridge_of_the_hull_is_left_where_photos_show_a_flat_wall() -> None:
    """Where outlines of two photos meet, the hull has a ridge two cells high and six wide; ten photos see the wall."""
    grid, x, z, camera = _facing_z()
    ridge = 2 * grid.spacing * (1 - x.abs() / (3 * grid.spacing)).clamp_min(0)
    hull = -(z + 0.3 + ridge).float()
    depth = np.full((100, 100), 1.7, np.float32)
    weight = np.full((100, 100), 0.5, np.float32)
    fused = fuse_depths(
        grid, hull, [camera] * 10, [depth] * 10, [weight] * 10, truncation=0.04, spread=SPREAD, trust=TRUST
    )
    crossing = [float(np.interp(0, -fused[i, 25].numpy(), z[i, 25].numpy())) for i in range(10, 41)]
    assert float(np.ptp(crossing)) < 0.2 * grid.spacing


def test_a_photo_does_not_pierce_the_far_side_of_the_hull() -> None:
    """Eight photos show the inner side of a slab's back wall a little too far away, at the hull's own far side."""
    grid, _, z, camera = _facing_z()
    hull = torch.maximum(-(z + 0.3), z - 0.3).float()  # solid where |z| < .3; the camera is at z = -2
    depth = np.full((100, 100), 2.295, np.float32)
    depth[:10], depth[10:20] = 1.7, 2.4
    possible = within_hull(grid, hull, camera, depth)
    assert possible[:10] == pytest.approx(1.7)  # the near side
    assert not possible[10:20].any()  # beyond the far side
    assert possible[20:] == pytest.approx(2.3 - WALL * grid.spacing, abs=1e-3)
    maps, weights = [np.full((100, 100), 2.295, np.float32)] * 8, [np.ones((100, 100), np.float32)] * 8
    fused = fuse_depths(
        grid, hull, [camera] * 8, maps, weights, truncation=2 * grid.spacing, spread=SPREAD, trust=TRUST
    )
    assert float(fused[25, 25].min()) < -0.5 * grid.spacing
