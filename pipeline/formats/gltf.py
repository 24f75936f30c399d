"""Assets as glTF files, core glTF 2.0: written as GLB with one mesh, one material and no extensions.

The document is pygltflib's GLTF2, which also lays out the container. glTF's conventions are the project's own
(world frame, linear factors, uv from the top left), so nothing is turned or flipped here; base colour alone is
encoded by the sRGB curve.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pygltflib as gl
import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor
from torch.nn.functional import normalize

from pipeline import __version__
from pipeline.color import srgb_from_linear
from pipeline.errors import InputError, ReconError
from pipeline.formats.files import read_regular, write_atomic
from pipeline.formats.glb import GlbDocument, unpack
from pipeline.formats.gltf_reader import ReadGltf, read_asset
from pipeline.formats.gltf_vertices import split_at_seams
from pipeline.formats.images import encode_jpeg, encode_png
from pipeline.geometry.tangents import mikktspace_tangents
from pipeline.scene import Asset, Material

__all__ = ["ReadGltf", "WrittenGlb", "read_gltf", "write_glb"]

_JPEG_QUALITY = 92
_MAX_BYTES = 2**31
_COMPONENT_TYPES = {"float32": gl.FLOAT, "uint16": gl.UNSIGNED_SHORT, "uint32": gl.UNSIGNED_INT}


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
        tangents: Tangent of each corner, w = sign of the bitangent, that a normal map belongs to; by default
            MikkTSpace's. They are written with a normal map only (else engines would make up their own).

    Raises:
        ReconError: When the asset is blank, not finite, or no triangle with an area is left.
        ResourceError: When the file cannot be written.
    """
    mesh, material = asset.mesh, asset.material
    if mesh.uvs is None or mesh.uv_faces is None or material is None:
        raise ReconError("an asset without texture coordinates or material cannot be written as GLB", path=path)
    if material.normal is None:
        tangents = None
    elif tangents is None:
        tangents = mikktspace_tangents(mesh, normalize(vertex_normals, dim=-1))
    faces, attributes = split_at_seams(mesh, vertex_normals, tangents, path)
    num_vertices = len(attributes["POSITION"])
    gltf = gl.GLTF2(
        asset=gl.Asset(generator=f"recon {__version__}"),
        scene=0,
        scenes=[gl.Scene(name="scene", nodes=[0])],
        nodes=[gl.Node(name="asset", mesh=0)],
        buffers=[gl.Buffer()],
    )
    gltf.set_binary_blob(bytearray())
    accessors = {name: _add_accessor(gltf, values, gl.ARRAY_BUFFER) for name, values in attributes.items()}
    positions = gltf.accessors[accessors["POSITION"]]
    positions.min, positions.max = (f(attributes["POSITION"], axis=0).tolist() for f in (np.min, np.max))
    indices = faces.reshape(-1).astype(np.uint16 if num_vertices <= 65535 else np.uint32)  # 65535 is no index
    primitive = gl.Primitive(
        attributes=gl.Attributes(**accessors), indices=_add_accessor(gltf, indices, gl.ELEMENT_ARRAY_BUFFER), material=0
    )
    gltf.meshes.append(gl.Mesh(name="asset_mesh", primitives=[primitive]))
    _add_material(gltf, material, image_format)
    wrap = gl.REPEAT if material.wrap else gl.CLAMP_TO_EDGE
    gltf.samplers.append(gl.Sampler(magFilter=gl.LINEAR, minFilter=gl.LINEAR_MIPMAP_LINEAR, wrapS=wrap, wrapT=wrap))
    data = b"".join(gltf.save_to_bytes())
    write_atomic(path, data)
    return WrittenGlb(
        vertices=num_vertices,
        triangles=len(faces),
        degenerate=mesh.faces.shape[0] - len(faces),
        size_bytes=len(data),
    )


def read_gltf(path: Path) -> ReadGltf:
    """Read a GLB file, or a .gltf file that holds its data itself (as data URIs), in glTF's world frame.

    All primitives become one mesh, with the transforms of their nodes applied. Vertices with equal position and
    normal are joined (a file splits them at texture seams); their corners keep their own uv. Textures are
    multiplied by the material's factors and brought to one size; several materials become one with an atlas.
    Light, emission and opacity are not read.

    Raises:
        InputError: When the file is damaged, refers to other files, or needs more than this reader knows.
    """
    text, binary = unpack(read_regular(path, max_bytes=_MAX_BYTES), path)
    try:
        gltf = gl.GLTF2.from_json(text)
        default = gl.Material()
        for material in (*gltf.materials, default):
            material.pbrMetallicRoughness = material.pbrMetallicRoughness or gl.PbrMetallicRoughness()
        return read_asset(GlbDocument(gltf=gltf, binary=binary, path=path), default)
    except (LookupError, TypeError, AttributeError, ValueError, OverflowError, RecursionError) as error:
        raise InputError(f"is not a valid glTF file: {type(error).__name__}: {error}", path=path) from error


def _add_material(gltf: gl.GLTF2, material: Material, image_format: Literal["png", "jpeg"]) -> None:
    """Add the material with its maps; images and textures stand in the same order."""
    maps = {"base_color": srgb_from_linear(material.base_color), "occlusion_roughness_metallic": material.orm}
    if material.normal is not None:
        maps["normal"] = material.normal
    for source, (name, values) in enumerate(maps.items()):
        jpeg = image_format == "jpeg" and name != "normal"
        pixels = _quantised(values)
        view = _append(gltf, encode_jpeg(pixels, quality=_JPEG_QUALITY) if jpeg else encode_png(pixels))
        gltf.images.append(gl.Image(name=name, mimeType=gl.IMAGEJPEG if jpeg else gl.IMAGEPNG, bufferView=view))
        gltf.textures.append(gl.Texture(name=name, sampler=0, source=source))
    gltf.materials.append(
        gl.Material(
            name="asset_material",
            pbrMetallicRoughness=gl.PbrMetallicRoughness(
                baseColorTexture=gl.TextureInfo(index=0), metallicRoughnessTexture=gl.TextureInfo(index=1)
            ),
            occlusionTexture=gl.OcclusionTextureInfo(index=1),
            normalTexture=gl.NormalMaterialTexture(index=2) if "normal" in maps else None,
            doubleSided=material.double_sided,
        )
    )


def _quantised(values: Float[Tensor, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
    return (values.detach().cpu().float().nan_to_num(0.0).clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def _add_accessor(gltf: gl.GLTF2, values: Shaped[np.ndarray, "rows *width"], target: int) -> int:
    """Append numbers, one or a vector a row; returns their accessor."""
    gltf.accessors.append(
        gl.Accessor(
            bufferView=_append(gltf, values.astype(values.dtype.newbyteorder("<")).tobytes(), target),
            componentType=_COMPONENT_TYPES[values.dtype.name],
            count=len(values),
            type=gl.SCALAR if values.ndim == 1 else f"VEC{values.shape[1]}",
        )
    )
    return len(gltf.accessors) - 1


def _append(gltf: gl.GLTF2, data: bytes, target: int | None = None) -> int:
    """Append bytes to the binary chunk, which `save_to_bytes` aligns; returns their buffer view."""
    blob = gltf.binary_blob()
    gltf.bufferViews.append(gl.BufferView(buffer=0, byteOffset=len(blob), byteLength=len(data), target=target))
    blob.extend(data)
    return len(gltf.bufferViews) - 1
