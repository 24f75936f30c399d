"""FlexiCubes by NVIDIA's kaolin, where that is installed: a dual surface whose vertices move freely inside their cubes.

Shen et al. 2023, "Flexible Isosurface Extraction for Gradient-Based Mesh Optimization". Written from kaolin's
documentation; its class is under the Apache licence since version 0.18.
"""

import importlib
import itertools
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.errors import ResourceError
from pipeline.geometry.tet_grid import TetGrid

EDGES, CORNERS = 12, 8  # weights of a cube: of its edges, of its corners, and one that chooses how quads are split
WEIGHTS = EDGES + CORNERS + 1


class FlexiCubes:
    """Extracts the zero level of a field on the points of one grid.

    Args:
        grid: Its cubes are FlexiCubes' cells.
        device: Where fields will lie.

    Attributes:
        cubes: Flat indices of each cube's corners, x changing first.

    Raises:
        ResourceError: When kaolin is not installed, or is too old.
    """

    def __init__(self, grid: TetGrid, device: torch.device) -> None:
        self._extract: Any = kaolins_class()(device=str(device))
        self._resolution = [points - 1 for points in grid.shape]
        number = torch.arange(grid.shape[0] * grid.shape[1] * grid.shape[2], device=device).reshape(grid.shape)
        nx, ny, nz = self._resolution
        corners = [
            number[x : x + nx, y : y + ny, z : z + nz].reshape(-1) for z, y, x in itertools.product((0, 1), repeat=3)
        ]
        self.cubes: Int[Tensor, "cubes 8"] = torch.stack(corners, 1)

    def __call__(
        self,
        positions: Float[Tensor, "points 3"],
        sdf: Float[Tensor, "points"],
        weights: Float[Tensor, "cubes 21"] | None = None,
    ) -> tuple[Float[Tensor, "vertices 3"], Int[Tensor, "faces 3"], Float[Tensor, "dual"]]:
        """Vertices, faces, and how unevenly far each dual vertex lies from the crossings that it stands for.

        Args:
            positions: Of the grid's points, world units; they may be shifted.
            sdf: Values there, negative inside.
            weights: Where in its cube each vertex lies, before kaolin's tanh: 0 is its middle. While gradients are
                taken, quads are split into four triangles, else into two.
        """
        chosen = {}
        if weights is not None:
            edge, corner, split = weights.split([EDGES, CORNERS, 1], 1)
            chosen = {"beta": edge, "alpha": corner, "gamma_f": split[:, 0], "training": torch.is_grad_enabled()}
        vertices, faces, deviation = self._extract(positions, sdf, self.cubes, self._resolution, **chosen)
        return vertices, faces, deviation


def kaolins_class() -> Any:  # noqa: ANN401  # a class of an optional package
    """Import kaolin's FlexiCubes.

    Raises:
        ResourceError: When it is not installed, or is too old.
    """
    remedy = "install NVIDIA's kaolin from 0.18 on (its wheels are made for torch 2.8 and earlier), or leave out "
    remedy += "geometry.surface=flexicubes"
    try:
        return importlib.import_module("kaolin.ops.conversions").FlexiCubes
    except (ImportError, OSError) as error:
        line = str(error).strip().splitlines()
        raise ResourceError(f"kaolin cannot be imported: {line[0] if line else error!r}", remedy=remedy) from error
    except AttributeError as error:
        raise ResourceError("the installed kaolin has no FlexiCubes", remedy=remedy) from error
