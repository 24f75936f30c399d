"""Meshes with short edges only, of the same shape: for what is computed at vertices."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pipeline.scene import Mesh

_MAX_ROUNDS = 24
# For each set of edges to halve (bit k: from corner k to the next), triangles of corners 0 1 2 and midpoints 3 4 5.
_PATTERNS = (
    ((0, 1, 2),),
    ((0, 3, 2), (3, 1, 2)),
    ((1, 4, 0), (4, 2, 0)),
    ((3, 1, 4), (0, 3, 4), (0, 4, 2)),
    ((2, 5, 1), (5, 0, 1)),
    ((5, 0, 3), (2, 5, 3), (2, 3, 1)),
    ((4, 2, 5), (1, 4, 5), (1, 5, 0)),
    ((0, 3, 5), (3, 1, 4), (5, 4, 2), (3, 4, 5)),
)


def tessellated(
    mesh: Mesh,
    normals: Float[Tensor, "vertices 3"],
    tangents: Float[Tensor, "faces 3 4"] | None = None,
    *,
    longest: float,
) -> tuple[Mesh, Float[Tensor, "more 3"], Float[Tensor, "pieces 3 4"] | None]:
    """The mesh with edges of at most `longest` world units, its normals and tangents.

    Edges are halved by their length alone, so that triangles on both sides agree and no gap opens. All values are
    interpolated linearly and not brought to unit length: a picture of them stays the same.
    """
    vertices, faces, uvs, uv_faces = mesh.vertices, mesh.faces, mesh.uvs, mesh.uv_faces
    for _ in range(_MAX_ROUNDS):
        corners = vertices[faces]
        halved = (corners.roll(-1, 1) - corners).norm(dim=-1) > longest
        if not halved.any():
            break
        face, local = _pieces(halved)
        six, pairs = _with_midpoints(faces, len(vertices))
        vertices, normals = (torch.cat([v, v[pairs].mean(1)]) for v in (vertices, normals))
        faces = six[face[:, None], local]
        if uvs is not None and uv_faces is not None:
            six, pairs = _with_midpoints(uv_faces, len(uvs))
            uvs = torch.cat([uvs, uvs[pairs].mean(1)])
            uv_faces = six[face[:, None], local]
        if tangents is not None:
            tangents = torch.cat([tangents, (tangents + tangents.roll(-1, 1)) / 2], 1)[face[:, None], local]
        vertices, normals, faces = _without_unused(vertices, normals, faces)
    return Mesh(vertices=vertices, faces=faces, uvs=uvs, uv_faces=uv_faces), normals, tangents


def _pieces(halved: Bool[Tensor, "faces 3"]) -> tuple[Int[Tensor, "pieces"], Int[Tensor, "pieces 3"]]:
    """The face of each new triangle, and which of its corners and midpoints it joins."""
    pattern = (halved * torch.tensor([1, 2, 4], device=halved.device)).sum(1)
    faces, local = [], []
    for code, triangles in enumerate(_PATTERNS):
        chosen = (pattern == code).nonzero()[:, 0]
        joined = torch.tensor(triangles, device=halved.device)
        faces.append(chosen.repeat_interleave(len(joined)))
        local.append(joined.repeat(len(chosen), 1))
    return torch.cat(faces), torch.cat(local)


def _with_midpoints(faces: Int[Tensor, "faces 3"], count: int) -> tuple[Int[Tensor, "faces 6"], Int[Tensor, "edges 2"]]:
    """Each face's corners and the midpoints of its edges, numbered from `count`, and what those lie between."""
    after = faces.roll(-1, 1)
    keys, index = (torch.minimum(faces, after) * count + torch.maximum(faces, after)).unique(return_inverse=True)
    return torch.cat([faces, count + index], 1), torch.stack([keys // count, keys % count], 1)


def _without_unused(
    vertices: Float[Tensor, "vertices 3"], normals: Float[Tensor, "vertices 3"], faces: Int[Tensor, "faces 3"]
) -> tuple[Float[Tensor, "used 3"], Float[Tensor, "used 3"], Int[Tensor, "faces 3"]]:
    used, index = faces.unique(return_inverse=True)
    return vertices[used], normals[used], index
