"""Vertices moved to where a mesh looks like its photos, without noise: Large Steps (Nicolet, Jacobson and Jakob 2021).

"Large Steps in Inverse Rendering of Geometry": what is optimised is u, with vertices = start + (I + lambda L)^-1 u and
L a Laplacian of the mesh, here stiffer where edges are short. Gradients that touch a few vertices beside outlines then
move their surroundings along, and steps stay long. The matrix is factorised once, on the CPU.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import sparse
from scipy.sparse.linalg import splu
from torch import Tensor

from pipeline.geometry.mesh_ops import face_normals
from pipeline.geometry.uniform_steps import UniformSteps

STIFFNESS = 5.0
VIEWS_A_STEP = 2
RATE, SLOWER_FROM, SLOWER = 0.1, 0.6, 0.3  # of the mean edge; from that share of the steps on by that factor
FREE_WAY = 0.02  # mean edges, below which the cost of having moved is quadratic
STIFFEST = 1e4  # weight of an edge, for the matrix' sake: that of one of a hundredth of the mean


@dataclass(frozen=True, kw_only=True)
class Search:
    """How vertices are moved.

    Attributes:
        steps: Number of steps.
        stay: Weight of the mean way of the vertices, in mean edges, beside the difference.
        seed: Of the order of the views.
    """

    steps: int
    stay: float
    seed: int


def moved_vertices(
    vertices: Float[Tensor, "vertices 3"],
    faces: Int[Tensor, "faces 3"],
    difference: Callable[[Float[Tensor, "vertices 3"], int], Float[Tensor, ""]],
    views: int,
    search: Search,
    progress: Callable[[float], None],
) -> Float[Tensor, "vertices 3"]:
    """Vertices where a mesh differs less from its views; no triangle turns over.

    A vertex that has to go far pays no more for each bit of it than the many that would go along a little, and where
    nothing tells the surface anything it stays.

    Args:
        vertices: Where they start, world units, on any device.
        faces: Triangles.
        difference: Of moved vertices from a view, as a share of what the object covers there.
        views: Their number; each step asks some of them.
        search: How long and how freely vertices move.
        progress: Takes the share done.
    """
    moved = LargeSteps(vertices, faces, stiffness=STIFFNESS)
    generator, order = torch.Generator().manual_seed(search.seed), list[int]()
    for step in range(search.steps):
        if step % 10 == 0:
            progress(step / search.steps)
        offset = moved.offset.to(vertices.device).requires_grad_()
        loss = search.stay * ((offset / moved.edge).square().sum(1) + FREE_WAY**2).sqrt().mean()
        for _ in range(VIEWS_A_STEP):
            order = order or torch.randperm(views, generator=generator).tolist()
            loss = loss + difference(vertices + offset, order.pop()) / VIEWS_A_STEP
        (gradient,) = torch.autograd.grad(loss, offset)
        moved.step(gradient, RATE * moved.edge * (SLOWER if step >= SLOWER_FROM * search.steps else 1.0))
    return _without_turned_faces(vertices, moved.offset.to(vertices.device), faces)


def _without_turned_faces(
    vertices: Float[Tensor, "vertices 3"], offset: Float[Tensor, "vertices 3"], faces: Int[Tensor, "faces 3"]
) -> Float[Tensor, "vertices 3"]:
    """The moved vertices, those of faces that turned over put back to where they were."""
    before = face_normals(vertices, faces)
    while bool((turned := (face_normals(vertices + offset, faces) * before).sum(1) < 0).any()):
        offset[faces[turned].reshape(-1)] = 0
    return vertices + offset


class LargeSteps:
    """How far each vertex has moved, and the steps that move it further.

    Attributes:
        edge: Mean length of an edge.

    Args:
        vertices: Where they start.
        faces: Triangles.
        stiffness: Lambda: how far a motion reaches into its surroundings, about its square root in mean edges.
    """

    def __init__(
        self, vertices: Float[Tensor, "vertices 3"], faces: Int[Tensor, "faces 3"], *, stiffness: float
    ) -> None:
        count = len(vertices)
        laplacian, self.edge = spring_laplacian(vertices, faces)
        matrix = (sparse.identity(count) + stiffness * laplacian).tocsc()
        ordering = {"permc_spec": "MMD_AT_PLUS_A", "diag_pivot_thresh": 0.0, "options": {"SymmetricMode": True}}
        self._factors = splu(matrix, **ordering)
        self._way = torch.zeros(count, 3)  # u
        self._steps = UniformSteps(self._way)

    @property
    def offset(self) -> Float[Tensor, "vertices 3"]:
        """How far the vertices have moved, on the CPU."""
        return self._solve(self._way)

    def step(self, gradient: Float[Tensor, "vertices 3"], rate: float) -> None:
        """Follow a loss's gradient with respect to the vertices.

        Args:
            gradient: On any device.
            rate: Length along an axis of the longest steps, world units.
        """
        self._way -= rate * self._steps.after(self._solve(gradient.detach().cpu()))

    def _solve(self, right: Float[Tensor, "vertices 3"]) -> Float[Tensor, "vertices 3"]:
        return torch.from_numpy(self._factors.solve(right.double().numpy())).float()


def spring_laplacian(
    vertices: Float[Tensor, "vertices 3"], faces: Int[Tensor, "faces 3"]
) -> tuple[sparse.csr_matrix, float]:
    """Laplacian of the graph of edges with weights in inverse proportion to their squares, and the mean edge.

    The mean edge has weight 1. Neighbours that lie next to each other, as decimation leaves them, thus move as one:
    else what moves one a little turns the triangle between them.
    """
    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).cpu().sort(1).values.unique(dim=0)
    ends = vertices.detach().cpu().double()[edges]
    length = (ends[:, 0] - ends[:, 1]).norm(dim=1)
    weight = (length.mean() / length.clamp_min(1e-12)).square().clamp_max(STIFFEST).numpy()
    a, b = edges.numpy().T
    adjacency = sparse.coo_matrix((weight, (a, b)), shape=(len(vertices), len(vertices)))
    adjacency = (adjacency + adjacency.T).tocsr()
    laplacian = (sparse.diags(np.asarray(adjacency.sum(1))[:, 0]) - adjacency).tocsr()
    return laplacian, float(length.mean())
