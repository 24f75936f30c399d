"""Renders an exported asset with Mitsuba 3. It shares no code with `pipeline`: trimesh reads the GLB.

Frames that differ from glTF's are named where they are turned: trimesh's uv starts at the bottom left, Mitsuba's
camera looks along +z with +x to the left, and its light map is a quarter turn away (`tests/test_formats_renderers.py`
holds all three).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mitsuba as mi
import numpy as np
import trimesh

mi.set_variant("scalar_rgb")

_MITSUBA_CAM_FROM_GL_CAM = np.diag([-1.0, 1.0, -1.0, 1.0])


class MitsubaRenderer:
    """An asset under a light map, seen by pinhole cameras given in glTF's frame.

    Args:
        glb: The asset: one mesh, one metallic-roughness material with textures.
        max_depth: Longest path in segments from the camera; 2 is direct light alone.
    """

    def __init__(self, glb: Path, *, max_depth: int = 5) -> None:
        self._mesh, material = _read(glb)
        self.bounds = np.stack([self._mesh.vertices.min(0), self._mesh.vertices.max(0)])
        inside = self._mesh.visual.uv.min() >= 0 and self._mesh.visual.uv.max() <= 1
        # The exporter's rule: clamp at the borders unless the texture is tiled; trimesh does not read samplers.
        self._shape = _shape(self._mesh, _principled(material, "clamp" if inside else "repeat"))
        self._integrator = mi.load_dict({"type": "path", "max_depth": max_depth, "hide_emitters": True})
        self._scene = None

    def set_light(self, light: Path, strength: float = 1.0) -> None:
        """Light the asset by an equirectangular Radiance picture in glTF's frame, multiplied by `strength`."""
        turn = mi.ScalarTransform4f().rotate([0, 1, 0], 90)
        emitter = {"type": "envmap", "filename": str(light), "scale": strength, "to_world": turn}
        self._scene = mi.load_dict({"type": "scene", "light": emitter, "asset": self._shape})

    def render(self, camera: Mapping[str, Any], *, samples: int) -> np.ndarray:
        """Linear premultiplied RGBA (height, width, 4) of one camera.

        Args:
            camera: `w h fl_x fl_y cx cy` in pixels and `pose`, the 4 x 4 camera-to-world matrix with OpenGL axes.
            samples: Paths per pixel.
        """
        width, height = camera["w"], camera["h"]
        film = {"type": "hdrfilm", "width": width, "height": height, "pixel_format": "rgba", "rfilter": {"type": "box"}}
        sensor = mi.load_dict(
            {
                "type": "perspective",
                "fov_axis": "x",
                "fov": float(np.degrees(2 * np.arctan(width / 2 / camera["fl_x"]))),
                "principal_point_offset_x": 0.5 - camera["cx"] / width,
                "principal_point_offset_y": 0.5 - camera["cy"] / height,
                "near_clip": 1e-3,
                "far_clip": 1e4,
                "to_world": mi.ScalarTransform4f(camera["pose"] @ _MITSUBA_CAM_FROM_GL_CAM),
                "film": film,
                "sampler": {"type": "independent", "sample_count": samples},
            }
        )
        return np.array(mi.render(self._scene, sensor=sensor, integrator=self._integrator, spp=samples))


def _read(glb: Path) -> tuple[trimesh.Trimesh, Any]:
    """The asset's mesh in the world, corners split as in the file, and its material."""
    scene = trimesh.load(glb, process=False)
    (node,) = scene.graph.nodes_geometry
    world_from_node, name = scene.graph[node]
    mesh = scene.geometry[name].copy()
    mesh.apply_transform(world_from_node)
    return mesh, scene.geometry[name].visual.material


def _shape(mesh: trimesh.Trimesh, bsdf: object) -> object:
    properties = mi.Properties()
    properties["bsdf"] = bsdf
    shape = mi.Mesh(
        "asset",
        len(mesh.vertices),
        len(mesh.faces),
        has_vertex_normals=True,
        has_vertex_texcoords=True,
        props=properties,
    )
    uv = np.stack([mesh.visual.uv[:, 0], 1 - mesh.visual.uv[:, 1]], -1)
    parameters = mi.traverse(shape)
    parameters["vertex_positions"] = np.float32(mesh.vertices).ravel()
    parameters["vertex_normals"] = np.float32(mesh.vertex_normals).ravel()
    parameters["vertex_texcoords"] = np.float32(uv).ravel()
    parameters["faces"] = np.uint32(mesh.faces).ravel()
    parameters.update()
    return shape


def _principled(material: Any, wrap: str) -> object:  # noqa: ANN401  # trimesh's PBRMaterial
    """Mitsuba's `principled` with glTF's meaning: F0 = 0.04 for dielectrics (specular 0.5)."""
    base = np.array(material.baseColorTexture.convert("RGB"))
    orm = np.array(material.metallicRoughnessTexture.convert("RGB")).astype(np.float32) / 255

    def texture(values: np.ndarray, raw: bool) -> dict[str, Any]:
        bitmap = mi.Bitmap(np.ascontiguousarray(values))
        return {"type": "bitmap", "bitmap": bitmap, "raw": raw, "wrap_mode": wrap}

    return mi.load_dict(
        {
            "type": "principled",
            "specular": 0.5,
            "base_color": texture(base, raw=False),
            "roughness": texture(orm[..., 1:2], raw=True),
            "metallic": texture(orm[..., 2:3], raw=True),
        }
    )
