"""Shapes and cameras that several tests use."""

import math

import torch
from torch.nn.functional import normalize

from pipeline.geometry.marching_tetrahedra import marching_tetrahedra
from pipeline.geometry.tet_grid import TetGrid, grid_in_box
from pipeline.scene import Camera


def grid(resolution, half=1.3):
    """A cubic grid around the origin in double precision."""
    corner = torch.full((3,), half, dtype=torch.float64)
    return grid_in_box(torch.stack([-corner, corner]), resolution=resolution)


def points(grid: TetGrid):
    """Positions of all points of a grid."""
    count = math.prod(grid.shape)
    return grid.positions(torch.arange(count)).reshape(*grid.shape, 3)


def sphere_sdf(where, center=(0.0, 0.0, 0.0), radius=1.0):
    return (where - torch.tensor(center, dtype=where.dtype)).norm(dim=-1) - radius


def torus_sdf(where, radius=0.8, tube=0.35):
    x, y, z = where.unbind(-1)
    return torch.hypot(torch.hypot(x, z) - radius, y) - tube


def capsule_sdf(where, start, end, radius):
    a, b = torch.tensor([start, end], dtype=where.dtype)
    t = (((where - a) @ (b - a)) / ((b - a) @ (b - a))).clamp(0, 1)
    return (where - a - t[..., None] * (b - a)).norm(dim=-1) - radius


def sphere(resolution=33, radius=1.0):
    """A closed mesh of a sphere around the origin."""
    where = grid(resolution, half=1.3 * radius)
    vertices, faces = marching_tetrahedra(sphere_sdf(points(where), radius=radius), where)
    return vertices, faces


def box(low, high):
    """A closed box, outwards."""
    corners = torch.tensor([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=torch.float32)
    corners = torch.tensor(low) + corners * (torch.tensor(high) - torch.tensor(low))
    quads = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    return corners, torch.tensor([f for a, b, c, d in quads for f in ([a, b, c], [a, c, d])])


def area(vertices, faces):
    a, b, c = vertices[faces].unbind(1)
    return float(torch.linalg.cross(b - a, c - a).norm(dim=-1).sum() / 2)


def camera_at(center, *, size_px=128, focal_px=160.0, target=(0.0, 0.0, 0.0)):
    """A camera that looks at `target` with +Y up in the image."""
    eye = torch.tensor(center, dtype=torch.float64)
    forward = normalize(torch.tensor(target, dtype=torch.float64) - eye, dim=0)
    right = normalize(torch.linalg.cross(forward, torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)), dim=0)
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = torch.stack([right, torch.linalg.cross(forward, right), forward])
    pose[:3, 3] = -pose[:3, :3] @ eye
    K = torch.tensor([[focal_px, 0, size_px / 2], [0, focal_px, size_px / 2], [0, 0, 1]], dtype=torch.float64)
    return Camera(K=K, cam_from_world=pose, width=size_px, height=size_px)


def cameras_around(count, *, distance=4.0, size_px=128, focal_px=160.0):
    """Cameras spread evenly over a sphere but its poles (Fibonacci's spiral), all looking at the origin."""
    cameras = []
    for k in range(count):
        height, turn = -0.9 + 1.8 * (k + 0.5) / count, k * math.pi * (3 - math.sqrt(5))
        across = math.sqrt(1 - height * height)
        center = (distance * across * math.sin(turn), distance * height, distance * across * math.cos(turn))
        cameras.append(camera_at(center, size_px=size_px, focal_px=focal_px))
    return cameras


def pixel_rays(camera, samples=1):
    """Unit world directions through `samples` x `samples` points of every pixel: (height, width, samples^2, 3)."""
    offset = (torch.arange(samples, dtype=torch.float64) + 0.5) / samples
    rows, columns = (torch.arange(n, dtype=torch.float64) for n in (camera.height, camera.width))
    y, x, v, u = torch.meshgrid(rows, columns, offset, offset, indexing="ij")
    pixel = torch.stack([x + u, y + v, torch.ones_like(u)], -1).reshape(camera.height, camera.width, -1, 3)
    return normalize(pixel @ torch.linalg.inv(camera.K).mT @ camera.cam_from_world[:3, :3], dim=-1)


def sphere_hits(camera, samples=1, radius=1.0):
    """Which rays of `pixel_rays` meet the sphere around the origin, and at what distance."""
    rays, center = pixel_rays(camera, samples), camera.camera_center
    half = rays @ center
    discriminant = half.square() - (center @ center - radius * radius)
    return discriminant > 0, -half - discriminant.clamp_min(0).sqrt()


def sphere_mask(camera, radius=1.0):
    """Antialiased coverage of the sphere around the origin, from 16 samples a pixel."""
    return sphere_hits(camera, samples=4, radius=radius)[0].float().mean(-1).numpy()


def bumpy_sphere(rings, segments):
    """A closed, welded sphere with bumps: 2 * (rings - 1) * segments faces."""
    theta = torch.linspace(0, math.pi, rings + 1, dtype=torch.float64)[1:-1, None]
    phi = (torch.arange(segments, dtype=torch.float64) * 2 * math.pi / segments)[None]
    ring = torch.stack(torch.broadcast_tensors(theta.sin() * phi.sin(), theta.cos(), theta.sin() * phi.cos()), -1)
    poles = torch.tensor([[0, 1.0, 0], [0, -1, 0]], dtype=torch.float64)
    points = torch.cat([ring.reshape(-1, 3), poles])
    points = points * (1 + 0.12 * torch.sin(5 * points).prod(-1, keepdim=True) + 0.05 * torch.cos(7 * points[:, :1]))
    i, j = (x.reshape(-1) for x in torch.meshgrid(torch.arange(rings - 2), torch.arange(segments), indexing="ij"))
    a, b = i * segments + j, i * segments + (j + 1) % segments
    c, d = a + segments, b + segments
    around = torch.arange(segments)
    turned = (around + 1) % segments
    last = (rings - 2) * segments
    top = torch.stack([torch.full_like(around, len(points) - 2), around, turned], 1)
    bottom = torch.stack([torch.full_like(around, len(points) - 1), last + turned, last + around], 1)
    return points, torch.cat([torch.stack([a, c, d], 1), torch.stack([a, d, b], 1), top, bottom])


def clip_of(points, motion):
    """Perspective clip positions after moving by x, y, turning about the axis and scaling (`motion`, 4 numbers)."""
    x, y, turn, scale = motion
    cos, sin = torch.cos(turn), torch.sin(turn)
    rotation = torch.stack([torch.stack([cos, -sin]), torch.stack([sin, cos])])
    xy = (points[:, :2] * torch.tensor([1.0, 0.7])) @ rotation.mT * (1 + scale) + torch.stack([x, y])
    z = points[:, 2] * (1 + scale) + 4
    near, far = 2.0, 6.0
    depth = (z * (far + near) - 2 * far * near) / (far - near)
    return torch.stack([xy[:, 0] * 2.4, xy[:, 1] * 2.4, depth, z], -1)[None]
