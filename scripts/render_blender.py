"""Renders an exported asset with Blender's Cycles, in any Python that has `bpy`; shares no code with `pipeline`.

Blender's world is z up: its importer turns glTF's (x, y, z) to (x, -z, y), and so are the cameras here.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix

_BLENDER_FROM_GLTF = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])


class BlenderRenderer:
    """An asset under a light map, seen by pinhole cameras given in glTF's frame.

    Args:
        glb: The asset.
        max_depth: Longest path in segments from the camera; 2 is direct light alone.
    """

    def __init__(self, glb: Path, *, max_depth: int = 5) -> None:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        self._scene = bpy.context.scene
        self._folder = tempfile.TemporaryDirectory(prefix="recon_blender_")
        self._configure(max_depth - 1)
        bpy.ops.import_scene.gltf(filepath=str(glb))
        bpy.context.view_layer.update()
        corners = [o.matrix_world @ v.co for o in self._scene.objects if o.type == "MESH" for v in o.data.vertices]
        in_gltf = np.array(corners) @ _BLENDER_FROM_GLTF[:3, :3]
        self.bounds = np.stack([in_gltf.min(0), in_gltf.max(0)])
        self._camera = bpy.data.objects.new("view", bpy.data.cameras.new("view"))
        self._scene.collection.objects.link(self._camera)
        self._scene.camera = self._camera

    def _configure(self, bounces: int) -> None:
        scene = self._scene
        scene.render.engine = "CYCLES"
        scene.render.film_transparent = True
        scene.render.resolution_percentage = 100
        cycles = scene.cycles
        cycles.device = "CPU"
        cycles.use_adaptive_sampling = cycles.use_denoising = False
        cycles.pixel_filter_type, cycles.filter_width = "BOX", 1.0
        cycles.max_bounces = cycles.diffuse_bounces = cycles.glossy_bounces = bounces
        scene.view_settings.view_transform = "Standard"
        settings = scene.render.image_settings
        settings.file_format, settings.color_mode, settings.color_depth = "OPEN_EXR", "RGBA", "32"

    def set_light(self, light: Path, strength: float = 1.0) -> None:
        """Light the asset by an equirectangular Radiance picture in glTF's frame, multiplied by `strength`."""
        world = self._scene.world = bpy.data.worlds.new("light")
        world.use_nodes = True
        nodes, links = world.node_tree.nodes, world.node_tree.links
        nodes.clear()
        texture = nodes.new("ShaderNodeTexEnvironment")
        texture.image = bpy.data.images.load(str(Path(light).resolve()))
        background, output = nodes.new("ShaderNodeBackground"), nodes.new("ShaderNodeOutputWorld")
        background.inputs["Strength"].default_value = strength
        links.new(texture.outputs["Color"], background.inputs["Color"])
        links.new(background.outputs[0], output.inputs["Surface"])

    def render(self, camera: Mapping[str, Any], *, samples: int) -> np.ndarray:
        """Linear premultiplied RGBA (height, width, 4) of one camera.

        Args:
            camera: `w h fl_x fl_y cx cy` in pixels and `pose`, the 4 x 4 camera-to-world matrix with OpenGL axes.
            samples: Paths per pixel.
        """
        width, height = camera["w"], camera["h"]
        lens = self._camera.data
        lens.sensor_fit, lens.angle = "HORIZONTAL", 2 * float(np.arctan(width / 2 / camera["fl_x"]))
        lens.shift_x = 0.5 - camera["cx"] / width
        lens.shift_y = (camera["cy"] - height / 2) / width
        lens.clip_start, lens.clip_end = 1e-3, 1e4
        self._camera.matrix_world = Matrix((_BLENDER_FROM_GLTF @ camera["pose"]).tolist())
        render = self._scene.render
        render.resolution_x, render.resolution_y = width, height
        render.filepath = str(Path(self._folder.name) / "view.exr")
        self._scene.cycles.samples = samples
        bpy.ops.render.render(write_still=True)
        return self._read(width, height)

    def _read(self, width: int, height: int) -> np.ndarray:
        """The rendered file, its top row first (Blender keeps the bottom row first)."""
        image = bpy.data.images.load(self._scene.render.filepath)
        pixels = np.empty(width * height * 4, np.float32)
        image.pixels.foreach_get(pixels)
        bpy.data.images.remove(image)
        return pixels.reshape(height, width, 4)[::-1].copy()
