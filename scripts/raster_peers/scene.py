"""The scene that every contender of `scripts/bench_raster.py` draws: a closed bumpy sphere over half the frame."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

DISTANCE, FOCAL = 4.0, 3.05  # the sphere then covers half of the frame
NEAR, FAR = 2.0, 6.0


@dataclass(frozen=True, eq=False, kw_only=True)
class Scene:
    """Vertices in the camera's frame (+x right, +y down, +z forward), faces, three attributes, and what to fit.

    Attributes:
        vertices: (V, 3) float32.
        faces: (F, 3) int32, counter-clockwise seen from outside.
        colors: (V, 3) in [0, 1].
        target: The picture that the squared error compares with, (size, size, 3).
        size_px: Width and height.
    """

    vertices: Tensor
    faces: Tensor
    colors: Tensor
    target: Tensor
    size_px: int

    @property
    def focal_px(self) -> float:
        """Focal length in pixels."""
        return FOCAL * self.size_px / 2


def bumpy_sphere(triangles: int) -> tuple[Tensor, Tensor]:
    """Vertices and faces of a welded sphere with bumps, of about so many triangles of even size."""
    rings = max(3, round(math.sqrt(triangles / 4)))
    segments = max(3, round(triangles / (2 * (rings - 1))))
    theta = torch.linspace(0, math.pi, rings + 1)[1:-1, None]
    phi = (torch.arange(segments) * 2 * math.pi / segments)[None]
    ring = torch.stack(torch.broadcast_tensors(theta.sin() * phi.sin(), theta.cos(), theta.sin() * phi.cos()), -1)
    points = torch.cat([ring.reshape(-1, 3), torch.tensor([[0, 1.0, 0], [0, -1, 0]])])
    points = points * (1 + 0.05 * torch.sin(6 * points).prod(-1, keepdim=True) + 0.03 * torch.cos(9 * points[:, :1]))
    i, j = (x.reshape(-1) for x in torch.meshgrid(torch.arange(rings - 2), torch.arange(segments), indexing="ij"))
    a, b = i * segments + j, i * segments + (j + 1) % segments
    c, d = a + segments, b + segments
    around = torch.arange(segments)
    turned, last = (around + 1) % segments, (rings - 2) * segments
    top = torch.stack([torch.full_like(around, len(points) - 2), around, turned], 1)
    bottom = torch.stack([torch.full_like(around, len(points) - 1), last + turned, last + around], 1)
    faces = torch.cat([torch.stack([a, c, d], 1), torch.stack([a, d, b], 1), top, bottom])
    return points, faces.int()


def make_scene(triangles: int, size_px: int) -> Scene:
    """The sphere, tilted so that no edge runs along the rows, in front of the camera."""
    points, faces = bumpy_sphere(triangles)
    tilt = torch.linalg.matrix_exp(torch.tensor([[0, -0.4, 0.3], [0.4, 0, -0.5], [-0.3, 0.5, 0]]))
    # A sphere's rings start at the same seam everywhere; shuffling would hide that neighbours lie together in memory.
    vertices = points @ tilt.mT + torch.tensor([0.0, 0.0, DISTANCE])
    rows = torch.linspace(0, 1, size_px)
    target = torch.stack([*torch.meshgrid(rows, rows, indexing="ij"), torch.full((size_px, size_px), 0.5)], -1)
    return Scene(vertices=vertices, faces=faces, colors=points * 0.4 + 0.5, target=target, size_px=size_px)


def clip_matrix() -> Tensor:
    """Clip space from the camera's frame: rows x, y, z, w over columns x, y, z, 1."""
    slope, offset = (FAR + NEAR) / (FAR - NEAR), -2 * FAR * NEAR / (FAR - NEAR)
    return torch.tensor([[FOCAL, 0, 0, 0], [0, FOCAL, 0, 0], [0, 0, slope, offset], [0, 0, 1, 0]])


def as_float64(tensor: Tensor) -> np.ndarray:
    """A numpy copy in float64."""
    return tensor.detach().numpy().astype(np.float64)
