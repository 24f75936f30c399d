"""Coverage, depth order and barycentrics of the CPU rasteriser against closed forms and ray casting."""

import numpy as np
import pytest
import torch

from pipeline.errors import InputError, ResourceError
from pipeline.raster.cpu import CpuRasterizer, checks
from tests.shapes import bumpy_sphere, clip_of

RASTERIZER = CpuRasterizer()


def clip_from_px(px, size, depth=None, w=None):
    """Clip positions of points given in corner-based pixels, (V, 2) -> (1, V, 4)."""
    px = torch.as_tensor(px, dtype=torch.float64)
    ndc = px * 2 / torch.tensor(size, dtype=torch.float64) - 1
    w = torch.ones(len(px), dtype=torch.float64) if w is None else torch.as_tensor(w, dtype=torch.float64)
    z = torch.zeros(len(px), dtype=torch.float64) if depth is None else torch.as_tensor(depth, dtype=torch.float64)
    return (torch.cat([ndc, z[:, None], torch.ones_like(z)[:, None]], 1) * w[:, None])[None]


def cast_rays(clip, faces, size):
    """Brute force in float64: per pixel the nearest triangle and its (u, v, z/w), by solving for the weights.

    A clip-space point b0 p0 + b1 p1 + b2 p2 projects to the pixel when its (x, y, w) is the pixel's ray.
    """
    width, height = size
    x = (np.arange(width) + 0.5) * 2 / width - 1
    y = (np.arange(height) + 0.5) * 2 / height - 1
    rays = np.stack([*np.meshgrid(x, y), np.ones((height, width))], -1)
    corners = np.asarray(clip, np.float64)[np.asarray(faces)]
    matrices = corners[:, :, [0, 1, 3]].transpose(0, 2, 1)
    good = np.abs(np.linalg.det(matrices)) > 0
    inverse = np.zeros_like(matrices)
    inverse[good] = np.linalg.inv(matrices[good])
    weights = np.einsum("fij,hwj->fhwi", inverse, rays)
    z = np.einsum("fhwi,fi->fhw", weights, corners[:, :, 2])
    inside = (weights >= 0).all(-1) & good[:, None, None] & (np.abs(z) <= 1)
    z = np.where(inside, z, np.inf)
    ids = np.where(inside.any(0), z.argmin(0), -1)
    pick = np.take_along_axis(weights, np.maximum(ids, 0)[None, ..., None], 0)[0]
    pick = pick / pick.sum(-1, keepdims=True)
    # How far the pixel is from changing its mind: distance to an edge (in weights) or to the next surface.
    margin = np.abs(weights).min(-1).min(0)
    return ids, pick[..., :2], z.min(0), margin


def random_perspective(generator, count, *, scale=1.0):
    """Triangles around random centres, some behind the camera or across the near plane."""
    centres = generator.uniform([-1.5, -1.5, -0.5], [1.5, 1.5, 4.0], (count, 1, 3))
    cam = centres + generator.normal(0, 1, (count, 3, 3)) * scale
    near, far = 0.3, 6.0
    z = (cam[..., 2] * (far + near) - 2 * far * near) / (far - near)
    clip = np.stack([cam[..., 0], cam[..., 1], z, cam[..., 2]], -1).reshape(-1, 4)
    return torch.from_numpy(clip.astype(np.float32)), torch.arange(3 * count).reshape(-1, 3)


@pytest.mark.parametrize("scale", [1.0, 0.05, 0.005, 30.0])
def test_ids_equal_float64_ray_casting(scale):
    generator = np.random.default_rng(round(1000 * scale))
    clip, faces = random_perspective(generator, 150, scale=scale)
    size = (61, 47)
    raster = RASTERIZER.rasterize(clip[None], faces, size_px=size)
    ids, bary, z, margin = cast_rays(clip, faces, size)
    same = raster.face_id[0].numpy() == ids
    assert same[margin > 1e-9].all()
    assert same.mean() > 0.999
    hit = same & (ids >= 0)
    assert hit.any()
    np.testing.assert_allclose(raster.rast[0, ..., :2].numpy()[hit], bary[hit], atol=1e-4)
    np.testing.assert_allclose(raster.rast[0, ..., 2].numpy()[hit], z[hit], atol=1e-6)
    assert (raster.rast[0][~raster.mask[0]] == 0).all()


def test_slivers_equal_float64_ray_casting():
    generator = np.random.default_rng(5)
    start = generator.uniform(-10, 70, (200, 2))
    along = generator.normal(0, 40, (200, 2))
    thin = generator.normal(0, 1, (200, 2)) * 10.0 ** generator.uniform(-5, 0, (200, 1))
    px = np.stack([start, start + along, start + along * 0.4 + thin], 1).reshape(-1, 2)
    clip = clip_from_px(px, (64, 48), depth=generator.uniform(-1, 1, 600), w=generator.uniform(0.5, 4, 600)).float()
    faces = torch.arange(600).reshape(-1, 3)
    raster = RASTERIZER.rasterize(clip, faces, size_px=(64, 48))
    ids, _, _, margin = cast_rays(clip[0], faces, (64, 48))
    same = raster.face_id[0].numpy() == ids
    assert same[margin > 1e-7].all()
    assert (ids >= 0).sum() > 100


def test_ids_equal_embree():
    trimesh = pytest.importorskip("trimesh")
    from trimesh.ray.ray_pyembree import RayMeshIntersector

    sphere = trimesh.creation.icosphere(subdivisions=4)
    size = 96
    x, y = np.meshgrid(*2 * [(np.arange(size) + 0.5) * 2 / size - 1])
    directions = np.stack([x, y, np.ones_like(x)], -1).reshape(-1, 3)
    vertices = sphere.vertices * [1, 1.2, 0.8] + [0.1, 0.05, 3.0]
    mesh = trimesh.Trimesh(vertices, sphere.faces, process=False)
    hits = RayMeshIntersector(mesh).intersects_first(np.zeros_like(directions), directions)
    depth = vertices[:, 2:]
    z = (depth * 11 - 2 * 10 * 1) / 9
    clip = torch.from_numpy(np.hstack([vertices[:, :2], z, depth])).float()
    raster = RASTERIZER.rasterize(clip[None], torch.from_numpy(np.asarray(sphere.faces)), size_px=(size, size))
    # Embree computes in float32 and is not watertight to the last bit: a few pixels on edges may differ.
    assert (raster.face_id[0].numpy().ravel() != hits).sum() <= 3
    assert (hits >= 0).sum() > 1000


def count_hits(clip, faces, size):
    """How many triangles cover each pixel: one view per triangle, in which it alone is finite."""
    faces = torch.as_tensor(faces)
    views = clip[0][faces].new_full((len(faces), len(faces), 3, 4), float("nan"))
    views[range(len(faces)), range(len(faces))] = clip[0][faces]
    exploded = torch.arange(3 * len(faces)).reshape(-1, 3)
    return RASTERIZER.rasterize(views.flatten(1, 2), exploded, size_px=size).mask.sum(0)


def triangulated_grid(generator, columns, rows, *, jitter=0.0):
    """A regular grid of vertices on pixel centres, moved by whole pixels, and split along random diagonals."""
    x, y = np.meshgrid(np.arange(columns), np.arange(rows))
    px = np.stack([x, y], -1) * 4 + 0.5
    inner = px[1:-1, 1:-1]
    inner += generator.integers(-1, 2, inner.shape) + jitter * generator.uniform(-1, 1, inner.shape)
    index = np.arange(columns * rows).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    flip = generator.random(a.shape) < 0.5
    first = np.where(flip[..., None], np.stack([a, b, c], -1), np.stack([a, b, d], -1))
    second = np.where(flip[..., None], np.stack([a, c, d], -1), np.stack([b, c, d], -1))
    return px.reshape(-1, 2), np.concatenate([first.reshape(-1, 3), second.reshape(-1, 3)])


@pytest.mark.parametrize("case", range(6))
def test_every_pixel_centre_is_hit_exactly_once(case):
    generator = np.random.default_rng(case)
    px, faces = triangulated_grid(generator, 9, 7, jitter=0.0 if case < 4 else 0.7)
    faces = np.where(generator.random((len(faces), 1)) < 0.5, faces[:, ::-1], faces)
    size = (64, 32)
    # Any w > 0 projects to the same pixel; powers of two keep vertices on the centres exactly.
    w = 2.0 ** generator.integers(-3, 3, len(px)) if case % 2 else None
    clip = clip_from_px(px, size, w=w)
    hits = count_hits(clip, faces.copy(), size)
    # Left and top borders are inclusive, right and bottom ones exclusive.
    assert (hits[:24, :32] == 1).all()
    assert (hits[24:] == 0).all()
    assert (hits[:, 32:] == 0).all()


def test_fan_around_a_pixel_centre_hits_it_once():
    angles = np.sort(np.random.default_rng(3).uniform(0, 2 * np.pi, 40))
    px = np.concatenate([[[8.5, 8.5]], 8.5 + 6 * np.stack([np.cos(angles), np.sin(angles)], -1)])
    clip = clip_from_px(px, (16, 16))
    faces = torch.tensor([[0, 1 + n, 1 + (n + 1) % 40] for n in range(40)])
    assert count_hits(clip, faces, (16, 16))[8, 8] == 1


def test_near_plane_through_an_endless_floor():
    # A plane y = 1 below the camera (y down) from far behind to far ahead: everything below the horizon.
    cam = torch.tensor([[-1e3, 1, -1e3], [1e3, 1, -1e3], [1e3, 1, 1e3], [-1e3, 1, 1e3]], dtype=torch.float64)
    near, far = 0.1, 900.0
    z = (cam[:, 2] * (far + near) - 2 * far * near) / (far - near)
    clip = torch.stack([cam[:, 0], cam[:, 1], z, cam[:, 2]], 1).float()[None]
    mask = RASTERIZER.rasterize(clip, torch.tensor([[0, 1, 2], [0, 2, 3]]), size_px=(32, 64)).mask[0]
    assert mask[32:].all()
    assert not mask[:32].any()


@pytest.mark.parametrize("extent", [1.0, 50.0, 1e7])
def test_a_floor_around_the_camera_is_hit_exactly_once(extent):
    # Triangles with corners behind the camera or far off the image share their edges with ordinary ones.
    generator = np.random.default_rng(7)
    px, faces = triangulated_grid(generator, 9, 9, jitter=0.7)
    ground = (px - 16.5) / 16 * 20
    ground = np.sign(ground) * np.abs(ground / 20) ** 2 * extent * 20
    cam = np.stack([ground[:, 0], np.ones(len(px)), ground[:, 1]], -1)
    clip = torch.from_numpy(np.stack([cam[:, 0], cam[:, 1] * 1.1, cam[:, 2] * 0, cam[:, 2]], -1))[None]
    hits = count_hits(clip, faces, (64, 64))
    far_row = round(32 + 32 * 1.1 / (0.9 * 20 * extent))
    assert hits.max() == 1
    assert (hits[far_row + 1 :] == 1).all()
    assert (hits[:32] == 0).all()


def test_degenerate_triangles_cover_nothing():
    size = (16, 16)
    px = [[0, 0], [16, 0], [0, 16], [8, 8], [16, 16]]
    clip = clip_from_px(px, size).float()
    clip = torch.cat([clip, torch.tensor([[[float("nan"), 0, 0, 1], [float("inf"), 0, 0, 1], [0, 0, 0, 0.0]]])], 1)
    bad = torch.tensor([[0, 0, 1], [0, 3, 4], [0, 1, 5], [0, 1, 6], [7, 7, 7], [1, 2, 3]])
    assert not RASTERIZER.rasterize(clip, bad, size_px=size).mask.any()
    behind = -clip[:, :3]
    assert not RASTERIZER.rasterize(behind, torch.tensor([[0, 1, 2]]), size_px=size).mask.any()
    assert not RASTERIZER.rasterize(clip, bad[:0], size_px=size).mask.any()


def test_equal_depths_go_to_the_lowest_index():
    clip = clip_from_px([[0, 0], [32, 0], [0, 32]], (16, 16)).float()
    faces = torch.tensor([[0, 1, 2]] * 3)
    raster = RASTERIZER.rasterize(clip, faces, size_px=(16, 16))
    assert (raster.face_id == 0).all()


def test_depth_outside_the_frustum_is_cut():
    clip = clip_from_px([[0, 0], [32, 0], [0, 32]], (16, 16), depth=[-1.5, 1.5, 0.0]).float()
    raster = RASTERIZER.rasterize(clip, torch.tensor([[0, 1, 2]]), size_px=(16, 16))
    x, y = torch.meshgrid((torch.arange(16) + 0.5) / 32, (torch.arange(16) + 0.5) / 32, indexing="xy")
    z = -1.5 * (1 - x - y) + 1.5 * x
    assert torch.equal(raster.mask[0], z.abs() <= 1)


def test_thread_count_changes_nothing():
    generator = np.random.default_rng(11)
    clip, faces = random_perspective(generator, 3000, scale=0.1)
    batch = torch.stack([clip, clip * torch.tensor([1.1, 0.9, 1, 1])])
    before = torch.get_num_threads()
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        raster = RASTERIZER.rasterize(batch, faces, size_px=(100, 90))
        results.append((raster.rast, RASTERIZER.interpolate(clip, raster, faces)))
    torch.set_num_threads(before)
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


def test_a_batch_equals_its_views():
    clip, faces = random_perspective(np.random.default_rng(12), 200, scale=0.3)
    batch = torch.stack([clip, clip.flip(1) * 0.5 + 0.3, clip * 2])
    whole = RASTERIZER.rasterize(batch, faces, size_px=(40, 30)).rast
    for view in range(3):
        assert torch.equal(whole[view], RASTERIZER.rasterize(batch[view : view + 1], faces, size_px=(40, 30)).rast[0])


def test_refusals(monkeypatch):
    clip = clip_from_px([[0, 0], [16, 0], [0, 16]], (16, 16)).float()
    with pytest.raises(InputError, match="index vertices 0 to 3, there are 3"):
        RASTERIZER.rasterize(clip, torch.tensor([[0, 1, 3]]), size_px=(16, 16))
    with pytest.raises(InputError, match="no views"):
        RASTERIZER.rasterize(clip[:0], torch.tensor([[0, 1, 2]]), size_px=(16, 16))
    with pytest.raises(InputError, match="each side"):
        RASTERIZER.rasterize(clip, torch.tensor([[0, 1, 2]]), size_px=(0, 16))
    with pytest.raises(InputError, match="float16"):
        RASTERIZER.rasterize(clip.half(), torch.tensor([[0, 1, 2]]), size_px=(16, 16))
    monkeypatch.setattr(checks, "MAX_TRIANGLES", 1)
    with pytest.raises(ResourceError, match="2 triangles"):
        RASTERIZER.rasterize(clip, torch.tensor([[0, 1, 2]] * 2), size_px=(16, 16))


def test_a_closed_surface_looks_alike_without_what_is_seen_from_behind():
    points, faces = bumpy_sphere(24, 44)
    motions = torch.tensor([[0.1, 0, 0.3, 0.2]], dtype=points.dtype) * torch.arange(3)[:, None]
    clip = torch.cat([clip_of(points, motion) for motion in motions])
    whole, outer, inner = (
        RASTERIZER.rasterize(clip, f, size_px=(96, 80), closed=closed).rast
        for f, closed in ((faces, False), (faces, True), (faces.flip(1), True))
    )
    assert torch.equal(whole, outer)
    assert (inner[..., 3] != whole[..., 3]).float().mean() > 0.1  # inside out, one looks at the far side
