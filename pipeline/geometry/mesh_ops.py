"""Operations on triangle meshes: face normals, volume, connected parts."""

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor


def face_normals(vertices: Float[Tensor, "vertices 3"], faces: Int[Tensor, "faces 3"]) -> Float[Tensor, "faces 3"]:
    """Normals of the faces, of twice the face's area in length."""
    a, b, c = vertices[faces].unbind(1)
    return torch.linalg.cross(b - a, c - a)


def signed_volume(vertices: Float[Tensor, "vertices 3"], faces: Int[Tensor, "faces 3"]) -> float:
    """Volume enclosed by a closed mesh, negative when it is inside out."""
    a, b, c = vertices[faces].double().unbind(1)
    return float((a * torch.linalg.cross(b, c)).sum() / 6)


def face_components(faces: Int[Tensor, "faces 3"]) -> Int[Tensor, "faces"]:
    """Number of the connected part that each face belongs to."""
    f = faces.numpy()
    count = int(f.max()) + 1 if len(f) else 0
    links = np.concatenate([f[:, :2], f[:, 1:]])
    graph = coo_matrix((np.ones(len(links), np.int8), (links[:, 0], links[:, 1])), shape=(count, count))
    _, label = connected_components(graph, directed=False)
    return torch.from_numpy(label[f[:, 0]].astype(np.int64))


def keep_solid_parts(
    vertices: Float[Tensor, "vertices 3"], faces: Int[Tensor, "faces 3"], *, min_share: float
) -> tuple[Float[Tensor, "kept_vertices 3"], Int[Tensor, "kept_faces 3"], int]:
    """Keep the parts whose volume is at least `min_share` of the largest one's.

    Cavities (parts inside out) enclose what no photo shows, and go too. Returns the number of parts dropped.
    """
    label = face_components(faces)
    a, b, c = vertices[faces].double().unbind(1)
    volume = torch.zeros(int(label.max()) + 1, dtype=torch.float64)
    volume.index_add_(0, label, (a * torch.linalg.cross(b, c)).sum(-1) / 6)
    keep = volume >= min_share * volume.max().clamp_min(1e-30)
    kept_vertices, kept_faces = drop_unused(vertices, faces[keep[label]])
    return kept_vertices, kept_faces, int((~keep).sum())


def drop_opposite(faces: Int[Tensor, "faces 3"]) -> Int[Tensor, "kept 3"]:
    """The faces without those that lie back to back on the same vertices: they enclose nothing and have no normal."""
    turned = torch.stack([faces, faces[:, [1, 2, 0]], faces[:, [2, 0, 1]]], 1)
    turned = turned[torch.arange(len(faces)), faces.argmin(1)]  # the least vertex first; two cycles are left
    backward = turned[:, 1] > turned[:, 2]
    turned[backward] = turned[backward][:, [0, 2, 1]]
    _, group = torch.unique(turned, dim=0, return_inverse=True)
    net = torch.zeros(int(group.max()) + 1 if len(group) else 0, dtype=torch.int64)
    net.index_add_(0, group, 1 - 2 * backward.long())
    return faces[net[group] != 0]


def drop_unused(
    vertices: Float[Tensor, "vertices 3"], faces: Int[Tensor, "faces 3"]
) -> tuple[Float[Tensor, "used 3"], Int[Tensor, "faces 3"]]:
    """Renumber the vertices so that only those of `faces` remain."""
    used, renumbered = torch.unique(faces, return_inverse=True)
    return vertices[used], renumbered


def open_edges(faces: Int[Tensor, "faces 3"]) -> int:
    """Number of edges that do not belong to exactly two faces: 0 for a closed surface."""
    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).sort(1).values
    _, count = torch.unique(edges, dim=0, return_counts=True)
    return int((count != 2).sum())


def has_border(vertices: Float[Tensor, "vertices 3"], faces: Int[Tensor, "faces 3"]) -> bool:
    """Whether the surface ends somewhere, so that its back can be seen; vertices in one place count as one."""
    _, welded = torch.unique(vertices, dim=0, return_inverse=True)
    faces = welded[faces]
    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).sort(1).values
    _, count = torch.unique(edges, dim=0, return_counts=True)
    return bool((count == 1).any())


def split_at_creases(
    vertices: Float[Tensor, "vertices 3"], faces: Int[Tensor, "faces 3"], *, crease_deg: float
) -> tuple[Float[Tensor, "split 3"], Int[Tensor, "faces 3"]]:
    """Give the two sides of every edge sharper than `crease_deg` vertices of their own, so that normals stay apart.

    Corners at one vertex stay one as long as flatter edges lead from one to the next.
    """
    normal = torch.nn.functional.normalize(face_normals(vertices.double(), faces), dim=1).numpy()
    f = faces.numpy().astype(np.int64)
    corner = np.arange(f.size).reshape(f.shape)
    start, end = corner.reshape(-1), np.roll(corner, -1, 1).reshape(-1)  # the two corners of each edge
    of = f.reshape(-1)
    forward = of[start] < of[end]
    low, high = np.where(forward, start, end), np.where(forward, end, start)
    order = np.lexsort([of[high], of[low]])
    low, high = low[order], high[order]
    same = (of[low][1:] == of[low][:-1]) & (of[high][1:] == of[high][:-1])
    cosine = (normal[low[1:] // 3] * normal[low[:-1] // 3]).sum(1)
    flat = np.flatnonzero(same & (cosine > np.cos(np.radians(crease_deg))))
    links = np.concatenate([np.stack([ends[flat], ends[flat + 1]], 1) for ends in (low, high)])
    graph = coo_matrix((np.ones(len(links), np.int8), (links[:, 0], links[:, 1])), shape=(f.size, f.size))
    _, label = connected_components(graph, directed=False)
    _, first = np.unique(label, return_index=True)
    return vertices[torch.from_numpy(of[first])], torch.from_numpy(label.reshape(f.shape).astype(np.int64))
