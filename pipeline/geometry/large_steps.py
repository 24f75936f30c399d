"""Vertices moved by gradients without noise: Large Steps (Nicolet, Jacobson and Jakob 2021).

"Large Steps in Inverse Rendering of Geometry": what is optimised is u, with vertices = start + (I + lambda L)^-1 u and
L the mesh's combinatorial Laplacian. Gradients that touch a few vertices beside outlines then move their surroundings
along, and steps stay long. The matrix is factorised once, on the CPU.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import sparse
from scipy.sparse.linalg import splu
from torch import Tensor

BETAS = (0.9, 0.95)  # of the mean gradient and of its mean square
STIFFEST = 1e4  # weight of an edge, for the matrix' sake: that of one of a hundredth of the mean
CLIPPED = 3.0  # times the root mean square of all gradients: a vertex never gets a longer step than one of these


class LargeSteps:
    """How far each vertex has moved, and the steps that move it further.

    Steps are in proportion to the gradient, of all vertices alike: Adam's own scale for each vertex would turn the
    noise of vertices that nothing speaks of into motion.

    Args:
        vertices: Where they start.
        faces: Triangles.
        stiffness: Lambda: how far a motion reaches into its surroundings, about its square root in mean edges.
    """

    def __init__(
        self, vertices: Float[Tensor, "vertices 3"], faces: Int[Tensor, "faces 3"], *, stiffness: float
    ) -> None:
        count = len(vertices)
        matrix = (sparse.identity(count) + stiffness * spring_laplacian(vertices, faces)).tocsc()
        ordering = {"permc_spec": "MMD_AT_PLUS_A", "diag_pivot_thresh": 0.0, "options": {"SymmetricMode": True}}
        self._factors = splu(matrix, **ordering)
        self._way = torch.zeros(count, 3)  # u
        self._mean, self._square, self._steps = torch.zeros(count, 3), 0.0, 0

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
        own = self._solve(gradient.detach().cpu())
        self._steps += 1
        self._mean = BETAS[0] * self._mean + (1 - BETAS[0]) * own
        self._square = BETAS[1] * self._square + (1 - BETAS[1]) * float(own.square().mean())
        mean = self._mean / (1 - BETAS[0] ** self._steps)
        rms = (self._square / (1 - BETAS[1] ** self._steps)) ** 0.5
        self._way -= rate * (mean / max(CLIPPED * rms, 1e-30)).clamp(-1, 1)

    def _solve(self, right: Float[Tensor, "vertices 3"]) -> Float[Tensor, "vertices 3"]:
        return torch.from_numpy(self._factors.solve(right.double().numpy())).float()


def spring_laplacian(vertices: Float[Tensor, "vertices 3"], faces: Int[Tensor, "faces 3"]) -> sparse.csr_matrix:
    """Laplacian of the graph of edges, with weights in inverse proportion to their squares, 1 at the mean edge.

    Neighbours that lie next to each other, as decimation leaves them, thus move as one: else what moves one a little
    turns the triangle between them.
    """
    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).cpu().sort(1).values.unique(dim=0)
    ends = vertices.detach().cpu().double()[edges]
    length = (ends[:, 0] - ends[:, 1]).norm(dim=1)
    weight = (length.mean() / length.clamp_min(1e-12)).square().clamp_max(STIFFEST).numpy()
    a, b = edges.numpy().T
    adjacency = sparse.coo_matrix((weight, (a, b)), shape=(len(vertices), len(vertices)))
    adjacency = (adjacency + adjacency.T).tocsr()
    return (sparse.diags(np.asarray(adjacency.sum(1))[:, 0]) - adjacency).tocsr()
