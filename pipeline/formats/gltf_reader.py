"""Reading glTF files: what the project writes, and files of others (triangles, core glTF 2.0).

Nothing outside the file is ever opened. Every index and size is checked before it is used.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from pipeline.errors import InputError
from pipeline.formats.glb import GlbDocument, GltfObject
from pipeline.formats.gltf_atlas import merge_materials
from pipeline.formats.gltf_material import read_material
from pipeline.formats.gltf_vertices import area_weighted_normals, first_of_equal
from pipeline.scene import Asset, Material, Mesh

_MAX_DEPTH = 64
_TRIANGLES = 4


@dataclass(frozen=True, eq=False, kw_only=True)
class ReadGltf:
    """What a file holds, in glTF's world frame (+Y up, metres).

    Attributes:
        asset: Mesh and material, no light.
        normals: Unit normals of the mesh's vertices, outwards.
        tangents: Unit tangent of each corner, w = sign of the bitangent; none unless the file has them for all of a
            surface with a normal map: then they are MikkTSpace's.
    """

    asset: Asset
    normals: Float[Tensor, "vertices 3"]
    tangents: Float[Tensor, "faces 3 4"] | None


@dataclass(frozen=True, eq=False, kw_only=True)
class _Part:
    """One primitive in the world frame; its vertices are split at seams. `material` is an index, or none."""

    positions: Float64[np.ndarray, "corners 3"]
    normals: Float64[np.ndarray, "corners 3"]
    tangents: Float64[np.ndarray, "corners 4"] | None
    uvs: Float64[np.ndarray, "corners 2"]
    faces: Int64[np.ndarray, "faces 3"]
    material: object


def read_asset(document: GlbDocument, default: GltfObject) -> ReadGltf:
    """The contents of a parsed file; `read_gltf` says what is read, and how.

    Args:
        document: The file. Its materials, and `default`, are pygltflib's, each with its PbrMetallicRoughness.
        default: The material of primitives that name none.

    Raises:
        InputError: When the file refers to other files, contradicts itself, or needs more than this reader knows.
    """
    if required := document.gltf.extensionsRequired:
        raise InputError(f"requires the extensions {', '.join(required)}", path=document.path)
    parts = [_read_primitive(document, *primitive) for primitive in _primitives(document)]
    if not parts:
        raise InputError("holds no triangles", path=document.path)
    parts, material = _with_one_material(document, parts, default)
    positions, normals, uvs = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("positions", "normals", "uvs")
    )
    starts = np.cumsum([0] + [len(part.positions) for part in parts])
    corners = np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=False)])
    kept, joined = first_of_equal(np.concatenate([positions, normals], 1).astype(np.float32))
    mesh = Mesh(
        vertices=torch.tensor(positions[kept], dtype=torch.float32),
        faces=torch.tensor(joined[corners]),
        uvs=torch.tensor(uvs, dtype=torch.float32),
        uv_faces=torch.tensor(corners),
    )
    given = [part.tangents for part in parts if part.tangents is not None]
    tangents = None
    if material.normal is not None and len(given) == len(parts):
        tangents = torch.tensor(np.concatenate(given)[corners], dtype=torch.float32)
    return ReadGltf(
        asset=Asset(mesh=mesh, material=material),
        normals=torch.tensor(normals[kept], dtype=torch.float32),
        tangents=tangents,
    )


def _with_one_material(document: GlbDocument, parts: list[_Part], default: GltfObject) -> tuple[list[_Part], Material]:
    """The parts ordered by material, with texture coordinates in the one material that stands for all of theirs."""
    used = list(dict.fromkeys(part.material for part in parts))
    groups = [[part for part in parts if part.material == index] for index in used]
    uvs = [np.concatenate([part.uvs for part in group]) for group in groups]
    materials = [
        read_material(document, default if index is None else document.item("materials", index), uv)
        for index, uv in zip(used, uvs, strict=True)
    ]
    material, merged = merge_materials(materials, uvs, document.path)
    ordered = [part for group in groups for part in group]
    ends = np.cumsum([len(part.uvs) for part in ordered])[:-1]
    placed = np.split(np.concatenate(merged), ends)
    return [replace(part, uvs=uv) for part, uv in zip(ordered, placed, strict=True)], material


def _primitives(document: GlbDocument) -> Iterator[tuple[GltfObject, Float64[np.ndarray, "4 4"]]]:
    """All primitives of the scene with the transforms of their nodes."""
    gltf = document.gltf
    roots = document.item("scenes", gltf.scene or 0).nodes if gltf.scenes else [0]
    waiting = [(root, np.eye(4), 0) for root in roots]
    seen: set[int] = set()
    while waiting:
        index, world_from_parent, depth = waiting.pop(0)
        if index in seen or depth > _MAX_DEPTH:
            raise InputError(f"node {index} hangs below itself or twice in the scene", path=document.path)
        seen.add(index)
        node = document.item("nodes", index)
        world_from_node = world_from_parent @ _parent_from_node(node)
        if node.mesh is not None:
            for primitive in document.item("meshes", node.mesh).primitives:
                yield primitive, world_from_node
        waiting += [(child, world_from_node, depth + 1) for child in node.children]


def _parent_from_node(node: GltfObject) -> Float64[np.ndarray, "4 4"]:
    """A node's transform: its matrix (stored by columns), or translation @ rotation @ scale."""
    if node.matrix is not None:
        return np.array(node.matrix, np.float64).reshape(4, 4).T
    x, y, z, w = np.array(node.rotation or [0, 0, 0, 1], np.float64)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    transform = np.eye(4)
    transform[:3, :3] = np.eye(3) + 2 * w * cross + 2 * cross @ cross
    transform[:3, :3] *= np.array(node.scale or [1, 1, 1], np.float64)
    transform[:3, 3] = node.translation or [0, 0, 0]
    return transform


def _read_primitive(document: GlbDocument, primitive: GltfObject, world_from_node: Float64[np.ndarray, "4 4"]) -> _Part:
    """One primitive in the world frame; a mirroring node turns its triangles and bitangents."""
    attributes = primitive.attributes
    if primitive.mode != _TRIANGLES or attributes.COLOR_0 is not None:
        raise InputError("holds lines, points, strips or vertex colours; triangles can be read", path=document.path)
    positions = document.accessor(attributes.POSITION, width=3)
    count = len(positions)

    def optional(index: object, width: int) -> Float64[np.ndarray, "corners _"] | None:
        return None if index is None else document.accessor(index, width=width)

    uvs, given = optional(attributes.TEXCOORD_0, 2), optional(attributes.NORMAL, 3)
    tangents = optional(attributes.TANGENT, 4) if given is not None else None  # else they are to be ignored
    uvs = np.zeros((count, 2)) if uvs is None else uvs
    if primitive.indices is not None:
        faces = document.accessor(primitive.indices, width=1).astype(np.int64).reshape(-1, 3)
    else:
        faces = np.arange(count).reshape(-1, 3)
    if any(a is not None and len(a) != count for a in (uvs, given, tangents)) or faces.min(initial=0) < 0:
        raise InputError("holds attributes of different lengths", path=document.path)
    if faces.max(initial=-1) >= count or not (np.isfinite(positions).all() and np.isfinite(uvs).all()):
        raise InputError("holds indices past its vertices, or numbers that are not finite", path=document.path)
    linear = world_from_node[:3, :3]
    positions = positions @ linear.T + world_from_node[:3, 3]
    mirrored = np.linalg.det(linear) < 0
    if mirrored:
        faces = faces[:, [0, 2, 1]]
    normals = area_weighted_normals(positions, faces) if given is None else given @ np.linalg.inv(linear)
    if tangents is not None:
        sign = np.where((tangents[:, 3:] < 0) == mirrored, 1.0, -1.0)
        tangents = np.concatenate([_unit(tangents[:, :3] @ linear.T), sign], 1)
        tangents = tangents if np.allclose(np.linalg.norm(tangents[:, :3], axis=1), 1) else None
    return _Part(
        positions=positions,
        normals=_unit(normals),
        tangents=tangents,
        uvs=uvs,
        faces=faces,
        material=primitive.material,
    )


def _unit(vectors: Float64[np.ndarray, "rows 3"]) -> Float64[np.ndarray, "rows 3"]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
