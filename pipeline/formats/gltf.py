"""Assets as GLB files: core glTF 2.0, one mesh, one material, no extensions.

The document is built as plain JSON. glTF's conventions are the project's own (world frame, linear factors,
uv from the top left), so nothing is turned or flipped here; base colour alone is encoded by the sRGB curve.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor

from pipeline import __version__
from pipeline.color import srgb_from_linear
from pipeline.errors import ReconError
from pipeline.formats.files import write_atomic
from pipeline.formats.glb import pack
from pipeline.formats.gltf_reader import read_glb
from pipeline.formats.gltf_vertices import split_at_seams
from pipeline.formats.images import encode_jpeg, encode_png
from pipeline.scene import Asset, Material

__all__ = ["WrittenGlb", "read_glb", "write_glb"]

_JPEG_QUALITY = 92
_FLOAT, _UNSIGNED_SHORT, _UNSIGNED_INT = 5126, 5123, 5125
_VERTEX_DATA, _INDEX_DATA = 34962, 34963
_LINEAR, _LINEAR_MIPMAP_LINEAR, _CLAMP, _REPEAT = 9729, 9987, 33071, 10497


@dataclass(frozen=True, kw_only=True)
class WrittenGlb:
    """What a written file holds.

    Attributes:
        vertices: Vertices after splitting at texture seams.
        triangles: Triangles written.
        degenerate: Triangles left out because they have no area.
        size_bytes: Size of the file.
    """

    vertices: int
    triangles: int
    degenerate: int
    size_bytes: int


def write_glb(
    asset: Asset,
    vertex_normals: Float[Tensor, "vertices 3"],
    path: Path,
    *,
    image_format: Literal["png", "jpeg"] = "png",
    tangents: Float[Tensor, "faces 3 4"] | None = None,
) -> WrittenGlb:
    """Write an asset as one self-contained GLB file; equal input gives equal bytes.

    Args:
        asset: Mesh with texture coordinates, and material, in glTF's world frame (+Y up, front +Z, metres).
        vertex_normals: Normals of the mesh's vertices, outwards; they are brought to unit length.
        path: Where to write.
        image_format: How base colour and occlusion-roughness-metallic are stored (JPEG: quality 92, 4:4:4);
            a normal map is always PNG.
        tangents: MikkTSpace tangent of each corner, w = sign of the bitangent. A normal map needs them (without,
            every engine would make up its own); they are left out when there is none.

    Raises:
        ReconError: When the asset is blank, not finite, lacks tangents, or no triangle with an area is left.
        ResourceError: When the file cannot be written.
    """
    mesh, material = asset.mesh, asset.material
    if mesh.uvs is None or mesh.uv_faces is None or material is None:
        raise ReconError("an asset without texture coordinates or material cannot be written as GLB", path=path)
    if (material.normal is None) != (tangents is None):
        raise ReconError("a normal map needs tangents, and tangents a normal map", path=path)
    faces, attributes = split_at_seams(mesh, vertex_normals, tangents, path)
    num_vertices = len(attributes["POSITION"])
    buffer = _Buffer()
    primitive = {
        "attributes": {name: buffer.vertex_data(values, name) for name, values in attributes.items()},
        "indices": buffer.indices(faces, num_vertices=num_vertices),
        "material": 0,
    }
    textures = _add_images(buffer, material, image_format)
    inside = bool((mesh.uvs >= 0).all() and (mesh.uvs <= 1).all())
    document = {
        "asset": {"version": "2.0", "generator": f"recon {__version__}"},
        "scene": 0,
        "scenes": [{"name": "scene", "nodes": [0]}],
        "nodes": [{"name": "asset", "mesh": 0}],
        "meshes": [{"name": "asset_mesh", "primitives": [primitive]}],
        "materials": [_describe_material(textures)],
        "textures": [{"name": name, "sampler": 0, "source": i} for i, name in enumerate(textures)],
        "images": buffer.image_list,
        "samplers": [_describe_sampler(_CLAMP if inside else _REPEAT)],
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": len(buffer.data)}],
    }
    data = pack(document, bytes(buffer.data))
    write_atomic(path, data)
    return WrittenGlb(
        vertices=num_vertices,
        triangles=len(faces),
        degenerate=mesh.faces.shape[0] - len(faces),
        size_bytes=len(data),
    )


def _add_images(buffer: "_Buffer", material: Material, image_format: Literal["png", "jpeg"]) -> list[str]:
    """Store the material's maps; returns their names in the order of images and textures."""
    jpeg = image_format == "jpeg"
    buffer.image("base_color", _quantised(srgb_from_linear(material.base_color)), jpeg=jpeg)
    buffer.image("occlusion_roughness_metallic", _quantised(material.orm), jpeg=jpeg)
    if material.normal is not None:
        buffer.image("normal", _quantised(material.normal), jpeg=False)
    return [image["name"] for image in buffer.image_list]


def _quantised(values: Float[Tensor, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
    return (values.detach().cpu().float().nan_to_num(0.0).clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def _describe_material(textures: list[str]) -> dict[str, Any]:
    index = {name: {"index": i} for i, name in enumerate(textures)}
    material: dict[str, Any] = {
        "name": "asset_material",
        "pbrMetallicRoughness": {
            "baseColorTexture": index["base_color"],
            "metallicRoughnessTexture": index["occlusion_roughness_metallic"],
        },
        "occlusionTexture": index["occlusion_roughness_metallic"],
        "alphaMode": "OPAQUE",
        "doubleSided": False,
    }
    if "normal" in index:
        material["normalTexture"] = index["normal"]
    return material


def _describe_sampler(wrap: int) -> dict[str, int]:
    return {"magFilter": _LINEAR, "minFilter": _LINEAR_MIPMAP_LINEAR, "wrapS": wrap, "wrapT": wrap}


@dataclass(frozen=True, eq=False, kw_only=True)
class _Buffer:
    """The binary chunk while it grows, and the JSON that describes it."""

    data: bytearray = field(default_factory=bytearray)
    views: list[dict[str, int]] = field(default_factory=list)
    accessors: list[dict[str, Any]] = field(default_factory=list)
    image_list: list[dict[str, Any]] = field(default_factory=list)

    def vertex_data(self, values: Float32[np.ndarray, "corners width"], name: str) -> int:
        """Append the attribute `name`; returns its accessor."""
        accessor: dict[str, Any] = {
            "bufferView": self._append(values.astype("<f4").tobytes(), {"target": _VERTEX_DATA}),
            "componentType": _FLOAT,
            "count": len(values),
            "type": f"VEC{values.shape[1]}",
        }
        if name == "POSITION":
            accessor |= {"min": values.min(0).tolist(), "max": values.max(0).tolist()}
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def indices(self, faces: Int64[np.ndarray, "faces 3"], *, num_vertices: int) -> int:
        """Append triangles, 16 bits an index where that suffices (65535 is no index); returns their accessor."""
        small = num_vertices <= 65535
        data = faces.astype("<u2" if small else "<u4").tobytes()
        self.accessors.append(
            {
                "bufferView": self._append(data, {"target": _INDEX_DATA}),
                "componentType": _UNSIGNED_SHORT if small else _UNSIGNED_INT,
                "count": faces.size,
                "type": "SCALAR",
            }
        )
        return len(self.accessors) - 1

    def image(self, name: str, pixels: UInt8[np.ndarray, "height width 3"], *, jpeg: bool) -> None:
        """Append an encoded picture."""
        data = encode_jpeg(pixels, quality=_JPEG_QUALITY) if jpeg else encode_png(pixels)
        kind = "image/jpeg" if jpeg else "image/png"
        self.image_list.append({"name": name, "mimeType": kind, "bufferView": self._append(data, {})})

    def _append(self, data: bytes, more: dict[str, int]) -> int:
        self.data.extend(b"\0" * (-len(self.data) % 4))
        self.views.append({"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data), **more})
        self.data.extend(data)
        return len(self.views) - 1
