"""The G-buffer agrees with the camera that it was rendered with."""

import math

import torch
from torch.nn.functional import normalize

from pipeline.raster.cpu import CpuRasterizer
from pipeline.raster.gbuffer import render_gbuffer
from pipeline.scene import Camera, Mesh

RASTERIZER = CpuRasterizer()


def sphere(rings=24, segments=32):
    """A closed UV sphere of radius 1, counter-clockwise seen from outside; its unwrapping has a seam."""
    theta = torch.linspace(0, math.pi, rings + 1, dtype=torch.float64)[:, None]
    phi = torch.linspace(0, 2 * math.pi, segments + 1, dtype=torch.float64)[None]
    grid = torch.stack([theta.sin() * phi.sin(), theta.cos().expand(-1, segments + 1), theta.sin() * phi.cos()], -1)
    uvs = torch.stack(torch.broadcast_tensors(phi / (2 * math.pi), theta / math.pi), -1).reshape(-1, 2)
    i, j = (x.reshape(-1) for x in torch.meshgrid(torch.arange(rings), torch.arange(segments), indexing="ij"))
    a, b, c, d = (r * (segments + 1) + s for r, s in ((i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1)))
    uv_faces = torch.cat([torch.stack([a, b, c], 1), torch.stack([a, c, d], 1)])
    flat = grid.reshape(-1, 3).float()
    return Mesh(vertices=flat, faces=uv_faces, uvs=uvs.float(), uv_faces=uv_faces)


def cameras(count=3, size=(80, 60)):
    """Cameras around the origin with a principal point off the centre."""
    poses = []
    for n in range(count):
        center = torch.tensor([2.5 * math.sin(n), 0.6 * n - 0.5, 2.5 * math.cos(n)], dtype=torch.float64)
        forward = normalize(torch.tensor([0.1, 0.05, 0.0], dtype=torch.float64) - center, dim=0)
        right = normalize(torch.linalg.cross(forward, torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)), dim=0)
        rotation = torch.stack([right, torch.linalg.cross(forward, right), forward])
        pose = torch.eye(4, dtype=torch.float64)
        pose[:3, :3], pose[:3, 3] = rotation, -rotation @ center
        poses.append(pose)
    K = torch.tensor([[90.0, 0, 43.0], [0, 85.0, 28.0], [0, 0, 1]], dtype=torch.float64).expand(count, 3, 3)
    return Camera(K=K, cam_from_world=torch.stack(poses), width=size[0], height=size[1])


def test_positions_project_to_pixel_centres_with_their_depth():
    mesh, camera = sphere(), cameras()
    buffer = render_gbuffer(RASTERIZER, mesh, mesh.vertices, camera)
    assert buffer.mask.float().mean() > 0.2
    x, y = torch.meshgrid(torch.arange(80) + 0.5, torch.arange(60) + 0.5, indexing="xy")
    for view in range(3):
        mask = buffer.mask[view]
        single = Camera(K=camera.K[view], cam_from_world=camera.cam_from_world[view], width=80, height=60)
        pixels, depth = single.project(buffer.position[view][mask])
        # float32 clip positions and barycentrics: 1e-7 of 80 px, times the tilt of the surface at the limb.
        torch.testing.assert_close(pixels, torch.stack([x[mask], y[mask]], -1).double(), atol=2e-4, rtol=0)
        torch.testing.assert_close(depth.float(), buffer.depth[view][mask], atol=1e-5, rtol=0)
        facing = (buffer.normal[view][mask] * (single.camera_center.float() - buffer.position[view][mask])).sum(-1)
        assert (facing > -0.15).all()
    assert (buffer.depth[~buffer.mask] == 0).all()
    assert (buffer.face_id[~buffer.mask] == -1).all()


def test_uv_follow_their_own_faces_and_normals_have_unit_length():
    mesh = sphere()
    buffer = render_gbuffer(RASTERIZER, mesh, mesh.vertices, cameras())
    lengths = buffer.normal[buffer.mask].norm(dim=-1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths))
    position = normalize(buffer.position[buffer.mask], dim=-1)
    # A chord of the sphere against its arc: half a segment squared, far from the poles.
    inside = position[:, 1].abs() < 0.8
    phi = torch.atan2(position[:, 0], position[:, 2]) % (2 * math.pi)
    error = (buffer.uv[buffer.mask][:, 0] - phi / (2 * math.pi))[inside]
    assert error.abs().max() < 5e-3
    bare = Mesh(vertices=mesh.vertices, faces=mesh.faces)
    assert (render_gbuffer(RASTERIZER, bare, mesh.vertices, cameras()).uv == 0).all()


def test_uv_derivatives_are_the_steps_to_the_next_pixels():
    mesh = sphere()
    assert render_gbuffer(RASTERIZER, mesh, mesh.vertices, cameras()).uv_derivatives is None
    buffer = render_gbuffer(RASTERIZER, mesh, mesh.vertices, cameras(), derivatives=True)
    for axis, step in ((2, 0), (1, 1)):  # one pixel to the right, one downwards
        steps = buffer.uv.diff(dim=axis)
        length = steps.shape[axis]
        first, second = (buffer.face_id.narrow(axis, k, length) for k in (0, 1))
        same = (first == second) & (first >= 0)
        slopes = buffer.uv_derivatives[..., step]
        between = (slopes.narrow(axis, 0, length) + slopes.narrow(axis, 1, length)) / 2
        assert same.sum() > 1000
        torch.testing.assert_close(between[same], steps[same], atol=1e-4, rtol=0.02)  # perspective, to second order


def test_a_single_camera_gives_one_view():
    mesh, batch = sphere(), cameras()
    single = Camera(K=batch.K[0], cam_from_world=batch.cam_from_world[0], width=80, height=60)
    buffer = render_gbuffer(RASTERIZER, mesh, mesh.vertices, single)
    assert buffer.mask.shape == (1, 60, 80)


def test_camera_inside_and_in_front_of_the_mesh():
    mesh = sphere()
    camera = cameras(1)
    inside = torch.eye(4, dtype=torch.float64)[None]
    buffer = render_gbuffer(
        RASTERIZER, mesh, mesh.vertices, Camera(K=camera.K, cam_from_world=inside, width=80, height=60)
    )
    assert buffer.mask.all()
    away = inside.clone()
    away[0, 2, 3] = -5
    buffer = render_gbuffer(
        RASTERIZER, mesh, mesh.vertices, Camera(K=camera.K, cam_from_world=away, width=80, height=60)
    )
    assert not buffer.mask.any()


def test_interpolation_is_linear_in_the_world():
    generator = torch.Generator().manual_seed(0)
    vertices = torch.rand(300, 3, generator=generator, dtype=torch.float32) * 2 - 1
    mesh = Mesh(vertices=vertices, faces=torch.arange(300).reshape(-1, 3))
    camera = cameras(2)
    buffer = render_gbuffer(RASTERIZER, mesh, torch.ones(300, 3), camera)
    rays_x = (torch.arange(80) + 0.5 - 43) / 90
    rays_y = (torch.arange(60) + 0.5 - 28) / 85
    rays = torch.stack([*torch.meshgrid(rays_x, rays_y, indexing="xy"), torch.ones(60, 80)], -1).double()
    for view in range(2):
        mask = buffer.mask[view]
        rotation, center = camera.cam_from_world[view, :3, :3], camera.camera_center[view]
        corners = vertices.double()[mesh.faces[buffer.face_id[view][mask]]]
        normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        direction = rays[mask] @ rotation
        t = (normal * (corners[:, 0] - center)).sum(-1) / (normal * direction).sum(-1)
        # Edge-on triangles are ill-conditioned in float32: compare along the rest.
        tilt = ((normal * direction).sum(-1) / normal.norm(dim=-1) / direction.norm(dim=-1)).abs()
        expected = (center + t[:, None] * direction)[tilt > 0.05]
        torch.testing.assert_close(buffer.position[view][mask][tilt > 0.05].double(), expected, atol=5e-5, rtol=0)


def test_gradients_reach_vertices_and_normals():
    mesh = sphere()
    vertices, normals = mesh.vertices.clone().requires_grad_(), mesh.vertices.clone().requires_grad_()
    moved = Mesh(vertices=vertices, faces=mesh.faces, uvs=mesh.uvs, uv_faces=mesh.uv_faces)
    buffer = render_gbuffer(RASTERIZER, moved, normals, cameras())
    (buffer.depth.sum() + buffer.normal[..., 0].sum() + buffer.uv.sum()).backward()
    assert torch.isfinite(vertices.grad).all()
    assert vertices.grad.abs().sum() > 0
    assert normals.grad.abs().sum() > 0
