"""Reading GLB files: what the project writes, and simple files of others (one material, triangles, core glTF 2.0).

Nothing outside the file is ever opened. Every index and size is checked before it is used.
"""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor
from torch.nn.functional import interpolate

from pipeline.color import linear_from_srgb
from pipeline.errors import InputError
from pipeline.formats.glb import GlbDocument, GltfObject
from pipeline.formats.gltf_vertices import area_weighted_normals, first_of_equal
from pipeline.formats.images import decode_texture
from pipeline.scene import Asset, Material, Mesh

_MAX_DEPTH = 64
_TRIANGLES = 4


def read_asset(document: GlbDocument, default: GltfObject) -> tuple[Asset, Float[Tensor, "vertices 3"]]:
    """The asset of a parsed file and the unit normals of its vertices; `read_glb` says what is read, and how.

    Args:
        document: The file. Its materials, and `default`, are pygltflib's, each with its PbrMetallicRoughness.
        default: The material of primitives that name none.

    Raises:
        InputError: When the file refers to other files, contradicts itself, or needs more than this reader knows.
    """
    if required := document.gltf.extensionsRequired:
        raise InputError(f"requires the extensions {', '.join(required)}", path=document.path)
    parts, materials = [], set()
    for primitive, world_from_node in _primitives(document):
        parts.append(_read_primitive(document, primitive, world_from_node))
        materials.add(primitive.material)
    if not parts:
        raise InputError("holds no triangles", path=document.path)
    if len(materials) > 1:
        raise InputError(f"holds {len(materials)} materials, one can be read", path=document.path)
    positions, normals, uvs = (np.concatenate([part[i] for part in parts]) for i in range(3))
    starts = np.cumsum([0] + [len(part[0]) for part in parts])
    corners = np.concatenate([part[3] + start for part, start in zip(parts, starts, strict=False)])
    kept, joined = first_of_equal(np.concatenate([positions, normals], 1).astype(np.float32))
    mesh = Mesh(
        vertices=torch.tensor(positions[kept], dtype=torch.float32),
        faces=torch.tensor(joined[corners]),
        uvs=torch.tensor(uvs, dtype=torch.float32),
        uv_faces=torch.tensor(corners),
    )
    index = materials.pop()
    material = _read_material(document, default if index is None else document.item("materials", index))
    return Asset(mesh=mesh, material=material), torch.tensor(normals[kept], dtype=torch.float32)


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


def _read_primitive(
    document: GlbDocument, primitive: GltfObject, world_from_node: Float64[np.ndarray, "4 4"]
) -> tuple[
    Float[np.ndarray, "corners 3"],
    Float[np.ndarray, "corners 3"],
    Float[np.ndarray, "corners 2"],
    Int64[np.ndarray, "faces 3"],
]:
    """World positions, unit normals, uvs and triangles of one primitive."""
    attributes = primitive.attributes
    if primitive.mode != _TRIANGLES or attributes.COLOR_0 is not None:
        raise InputError("holds lines, points, strips or vertex colours; triangles can be read", path=document.path)
    positions = document.accessor(attributes.POSITION, width=3)
    count = len(positions)
    uvs, given = np.zeros((count, 2)), None
    if attributes.TEXCOORD_0 is not None:
        uvs = document.accessor(attributes.TEXCOORD_0, width=2)
    if attributes.NORMAL is not None:
        given = document.accessor(attributes.NORMAL, width=3)
    if primitive.indices is not None:
        faces = document.accessor(primitive.indices, width=1).astype(np.int64).reshape(-1, 3)
    else:
        faces = np.arange(count).reshape(-1, 3)
    if len(uvs) != count or (given is not None and len(given) != count) or faces.min(initial=0) < 0:
        raise InputError("holds attributes of different lengths", path=document.path)
    if faces.max(initial=-1) >= count or not np.isfinite(positions).all():
        raise InputError("holds indices past its vertices, or positions that are not finite", path=document.path)
    linear = world_from_node[:3, :3]
    positions = positions @ linear.T + world_from_node[:3, 3]
    if np.linalg.det(linear) < 0:
        faces = faces[:, [0, 2, 1]]
    normals = area_weighted_normals(positions, faces) if given is None else given @ np.linalg.inv(linear)
    normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    return positions, normals, uvs, faces


def _read_material(document: GlbDocument, material: GltfObject) -> Material:
    """The maps of a material, linear, multiplied by its factors, all in the size of the largest."""
    rough = material.pbrMetallicRoughness
    base = linear_from_srgb(_texture(document, rough.baseColorTexture))
    red, green, blue, _ = rough.baseColorFactor
    base = base * torch.tensor([red, green, blue])
    packed = _texture(document, rough.metallicRoughnessTexture)
    occlusion = _texture(document, material.occlusionTexture)[..., :1]
    if material.occlusionTexture is not None:
        occlusion = 1 + material.occlusionTexture.strength * (occlusion - 1)
    normal = _texture(document, material.normalTexture) if material.normalTexture is not None else None
    maps = [base, packed, occlusion] if normal is None else [base, packed, occlusion, normal]
    size = max(m.shape[0] for m in maps), max(m.shape[1] for m in maps)
    base, packed, occlusion, *normals = (_resized(m, size) for m in maps)
    roughness = packed[..., 1] * rough.roughnessFactor
    metallic = packed[..., 2] * rough.metallicFactor
    orm = torch.stack([occlusion[..., 0], roughness, metallic], -1)
    return Material(base_color=base, orm=orm, normal=normals[0] if normals else None)


def _resized(
    image: Float[Tensor, "height width channels"], size: tuple[int, int]
) -> Float[Tensor, "rows columns channels"]:
    if tuple(image.shape[:2]) == size:
        return image
    planes = interpolate(image.movedim(-1, 0)[None], size, mode="bilinear", align_corners=False)
    return planes[0].movedim(0, -1)


def _texture(document: GlbDocument, info: GltfObject | None) -> Float[Tensor, "height width 3"]:
    """A texture's values in [0, 1] as stored, or one white texel when there is none."""
    if info is None:
        return torch.ones(1, 1, 3)
    if info.texCoord or "KHR_texture_transform" in info.extensions:
        raise InputError("uses a second set of texture coordinates or transforms them", path=document.path)
    image = document.item("images", document.item("textures", info.index).source)
    data = document.data_uri(image.uri) if image.bufferView is None else document.view(image.bufferView)[0]
    return torch.tensor(decode_texture(data, document.path)) / 255
