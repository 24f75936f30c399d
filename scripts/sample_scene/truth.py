"""Files of the truth: shape, maps, light and cameras."""

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pygltflib as gl
import trimesh
from PIL import Image

from sample_scene.model import Model
from sample_scene.surfaces import Array, Part, triangulate


def write_glb(path: Path, model: Model, maps: Sequence[Path]) -> None:
    """Write the mesh as a GLB that holds its maps, base colour first."""
    arrays = [array.astype("<f4") for array in (model.vertices, model.normals, model.uvs)]
    pieces = [array.tobytes() for array in arrays] + [model.faces.astype("<u4").tobytes()]
    targets = [gl.ARRAY_BUFFER] * 3 + [gl.ELEMENT_ARRAY_BUFFER] + [None] * len(maps)
    pieces += [image.read_bytes() for image in maps]
    padded = [piece + b"\0" * (-len(piece) % 4) for piece in pieces]
    starts = np.cumsum([0] + [len(piece) for piece in padded])
    views = [
        gl.BufferView(buffer=0, byteOffset=int(start), byteLength=len(piece), target=target)
        for start, piece, target in zip(starts, pieces, targets, strict=False)
    ]
    accessors = [
        gl.Accessor(bufferView=k, componentType=gl.FLOAT, count=len(array), type=f"VEC{array.shape[1]}")
        for k, array in enumerate(arrays)
    ]
    accessors[0].min, accessors[0].max = arrays[0].min(axis=0).tolist(), arrays[0].max(axis=0).tolist()
    accessors.append(gl.Accessor(bufferView=3, componentType=gl.UNSIGNED_INT, count=model.faces.size, type="SCALAR"))
    surface = gl.PbrMetallicRoughness(
        baseColorTexture=gl.TextureInfo(index=0), metallicRoughnessTexture=gl.TextureInfo(index=1)
    )
    attributes = gl.Attributes(POSITION=0, NORMAL=1, TEXCOORD_0=2)
    asset = gl.GLTF2(
        scene=0,
        scenes=[gl.Scene(nodes=[0])],
        nodes=[gl.Node(mesh=0, name="robot")],
        meshes=[gl.Mesh(name="robot", primitives=[gl.Primitive(attributes=attributes, indices=3, material=0)])],
        materials=[gl.Material(name="robot", pbrMetallicRoughness=surface)],
        samplers=[gl.Sampler(magFilter=gl.LINEAR, minFilter=gl.LINEAR_MIPMAP_LINEAR)],
        images=[gl.Image(bufferView=4 + k, mimeType="image/png") for k in range(len(maps))],
        textures=[gl.Texture(source=k, sampler=0) for k in range(len(maps))],
        accessors=accessors,
        bufferViews=views,
        buffers=[gl.Buffer(byteLength=int(starts[-1]))],
    )
    asset.set_binary_blob(b"".join(padded))
    asset.save_binary(str(path))


def visible_points(parts: Sequence[Part], count: int, seed: int) -> tuple[Array, Array]:
    """Sample points and normals evenly on the union's surface: what lies inside another part is left out."""
    meshes = [triangulate(part.grid) for part in parts]
    total = sum(mesh.area for mesh in meshes)
    points, normals = [], []
    for k, mesh in enumerate(meshes):
        sample, face = trimesh.sample.sample_surface(mesh, round(1.4 * count * mesh.area / total), seed=seed + k)
        hidden = np.zeros(len(sample), dtype=bool)
        for other in meshes[:k] + meshes[k + 1 :]:
            hidden |= other.contains(sample)
        points.append(sample[~hidden])
        normals.append(mesh.face_normals[face[~hidden]])
    return np.concatenate(points), np.concatenate(normals)


def write_truth(truth: Path, parts: Sequence[Part], model: Model, light: Array) -> None:
    """Write shape, maps and light."""
    truth.mkdir(parents=True, exist_ok=True)
    maps = truth / "base_color.png", truth / "orm.png"
    for path, pixels in zip(maps, (model.base_color_srgb, model.orm), strict=True):
        Image.fromarray(pixels).save(path, optimize=True)
    write_glb(truth / "mesh.glb", model, maps)
    points, normals = visible_points(parts, 20000, 1)
    header = "".join(f"property float {name}\n" for name in ("x", "y", "z", "nx", "ny", "nz"))
    head = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(points)}\n{header}end_header\n"
    (truth / "surface.ply").write_bytes(head.encode() + np.hstack([points, normals]).astype("<f4").tobytes())
    small = cv2.resize(light, (256, 128), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(truth / "light.hdr"), np.ascontiguousarray(small[..., ::-1], dtype=np.float32))


def write_transforms(path: Path, poses: Sequence[Array], size: tuple[int, int], focal_px: float) -> None:
    """Write the cameras as NeRF's transforms.json: camera-to-world, OpenGL axes."""
    frames = [
        {
            "file_path": f"../photos/IMG_{k:04d}.jpg",
            "mask_path": f"masks/IMG_{k:04d}.png",
            "transform_matrix": pose.tolist(),
        }
        for k, pose in enumerate(poses, start=1)
    ]
    intrinsics = {"w": size[0], "h": size[1], "fl_x": focal_px, "fl_y": focal_px, "cx": size[0] / 2, "cy": size[1] / 2}
    path.write_text(json.dumps({"camera_model": "PINHOLE", **intrinsics, "frames": frames}, indent=1) + "\n")
