"""The materials of glTF files: textures, factors and samplers become plain maps."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from pipeline.color import linear_from_srgb
from pipeline.errors import InputError
from pipeline.formats.glb import GlbDocument, GltfObject
from pipeline.formats.images import decode_texture
from pipeline.scene import Material

_REPEAT, _CLAMP = 10497, 33071


def read_material(document: GlbDocument, material: GltfObject, uvs: Float[np.ndarray, "corners 2"]) -> Material:
    """The maps of a material, linear, multiplied by its factors, all in the size of the largest.

    Args:
        document: The file.
        material: pygltflib's, with its PbrMetallicRoughness.
        uvs: Texture coordinates of all that it covers.

    Raises:
        InputError: When a texture is broken, or read in a way that plain maps cannot say.
    """
    rough = material.pbrMetallicRoughness
    base = linear_from_srgb(_texture(document, rough.baseColorTexture))
    red, green, blue, _ = rough.baseColorFactor
    base = base * torch.tensor([red, green, blue])
    packed = _texture(document, rough.metallicRoughnessTexture)
    occlusion = _texture(document, material.occlusionTexture)[..., :1]
    if material.occlusionTexture is not None:
        occlusion = 1 + material.occlusionTexture.strength * (occlusion - 1)
    maps = [base, packed, occlusion]
    if material.normalTexture is not None:
        scale = 1.0 if material.normalTexture.scale is None else material.normalTexture.scale
        maps.append(_scaled_normals(_texture(document, material.normalTexture), scale))
    size = max(m.shape[0] for m in maps), max(m.shape[1] for m in maps)
    base, packed, occlusion, *normals = (_resized(m, size) for m in maps)
    roughness = packed[..., 1] * rough.roughnessFactor
    metallic = packed[..., 2] * rough.metallicFactor
    return Material(
        base_color=base,
        orm=torch.stack([occlusion[..., 0], roughness, metallic], -1),
        normal=normals[0] if normals else None,
        wrap=_wraps(document, material, uvs),
        double_sided=material.doubleSided is True,
    )


def _wraps(document: GlbDocument, material: GltfObject, uvs: Float[np.ndarray, "corners 2"]) -> bool:
    """Whether the textures repeat; refuses other ways to continue them, and several, where it matters."""
    rough = material.pbrMetallicRoughness
    infos = (rough.baseColorTexture, rough.metallicRoughnessTexture, material.occlusionTexture, material.normalTexture)
    modes: tuple[set[int], set[int]] = set(), set()
    for info in infos:
        texture = None if info is None else document.item("textures", info.index)
        if texture is not None:
            sampler = None if texture.sampler is None else document.item("samplers", texture.sampler)
            for axis, name in enumerate(("wrapS", "wrapT")):
                modes[axis].add(_REPEAT if sampler is None else getattr(sampler, name) or _REPEAT)
    beyond = [m for axis, m in enumerate(modes) if uvs[:, axis].min() < 0 or uvs[:, axis].max() > 1]
    needed = set[int]().union(*beyond) or modes[0]
    if beyond and not (needed <= {_REPEAT} or needed <= {_CLAMP}):
        raise InputError("mirrors its textures, or continues them in several ways", path=document.path)
    return needed == {_REPEAT}


def _scaled_normals(normals: Float[Tensor, "height width 3"], scale: float) -> Float[Tensor, "height width 3"]:
    """A normal map whose slopes are multiplied by `scale`."""
    if scale == 1:
        return normals
    return normalize((2 * normals - 1) * torch.tensor([scale, scale, 1.0]), dim=-1) * 0.5 + 0.5


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
