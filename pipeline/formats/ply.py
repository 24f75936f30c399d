"""Triangle meshes in PLY files."""

import io
from pathlib import Path

import torch
import trimesh
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.errors import InputError
from pipeline.formats.files import read_regular


def read_ply(path: Path) -> tuple[Float[Tensor, "vertices 3"], Int[Tensor, "faces 3"]]:
    """Read vertices and triangles of a PLY mesh, as they are.

    Raises:
        InputError: When the file is no PLY mesh or has no triangles.
    """
    data = read_regular(path, max_bytes=2**31)
    try:
        mesh = trimesh.load_mesh(io.BytesIO(data), file_type="ply", process=False)
        vertices, faces = torch.tensor(mesh.vertices), torch.tensor(mesh.faces)
    except (ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise InputError(f"is no PLY mesh: {error}", path=path) from error
    if not len(faces):
        raise InputError("holds no triangles", path=path)
    return vertices, faces.long()
