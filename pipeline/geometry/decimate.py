"""Decimation to a triangle budget."""

import fast_simplification
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.geometry.mesh_ops import drop_opposite


def decimate(
    vertices: Float[Tensor, "vertices 3"], faces: Int[Tensor, "faces 3"], *, max_faces: int
) -> tuple[Float[Tensor, "kept_vertices 3"], Int[Tensor, "kept_faces 3"]]:
    """Collapse edges by quadric error (Garland and Heckbert 1997) until `max_faces` remain; closed stays closed.

    Vertices that no face is left of may remain.
    """
    if len(faces) <= max_faces:
        return vertices, faces
    kept_vertices, kept_faces = fast_simplification.simplify(
        vertices.numpy().astype(np.float32), faces.numpy().astype(np.int32), target_count=max_faces, agg=5
    )
    collapsed = torch.from_numpy(kept_faces.astype(np.int64))  # thin spikes end as triangles back to back
    return torch.from_numpy(kept_vertices).to(vertices.dtype), drop_opposite(collapsed)
