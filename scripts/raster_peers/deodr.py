"""DEODR (Martin de La Gorce): C++, one thread, antialiasing by edge overdraw, no perspective correction."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from raster_peers.scene import Scene, as_float64


def deodr_step(scene: Scene) -> Callable[[], Tensor]:
    """Its 2D renderer with its own silhouette flags, and back from the squared error to the vertices.

    The projection is written by hand, forward and backward: faster than through torch or its own scene classes.
    """
    from deodr.differentiable_renderer import Scene2D, renderScene, renderSceneB
    from deodr.triangulated_mesh import TriMeshAdjacencies

    size, vertices, faces = scene.size_px, as_float64(scene.vertices), scene.faces.numpy().astype(np.uint32)
    colors, target = as_float64(scene.colors), as_float64(scene.target)
    adjacency = TriMeshAdjacencies(faces)
    nothing = np.zeros((len(faces),), bool)

    def step() -> Tensor:
        depths = vertices[:, 2].copy()
        ij = vertices[:, :2] * (scene.focal_px / depths[:, None]) + (size / 2 - 0.5)
        scene_2d = Scene2D(
            faces=faces,
            faces_uv=faces,
            ij=ij,
            depths=depths,
            textured=nothing,
            uv=np.zeros((len(vertices), 2)),
            shade=np.zeros(len(vertices)),
            colors=colors,
            shaded=nothing,
            edgeflags=adjacency.edge_on_silhouette(ij),
            height=size,
            width=size,
            nb_colors=3,
            texture=np.zeros((0, 0)),
            background_color=np.zeros(3),
            backface_culling=True,
        )
        image, z_buffer = np.empty((size, size, 3)), np.empty((size, size))
        renderScene(scene_2d, 1.0, image, z_buffer)
        scene_2d.clear_gradients()
        renderSceneB(scene_2d, 1.0, image, z_buffer, (image - target) * (2 / image.size))
        to_plane = scene_2d.ij_b * (scene.focal_px / depths[:, None])
        along = -(to_plane * vertices[:, :2]).sum(1, keepdims=True) / depths[:, None]
        return torch.from_numpy(np.concatenate([to_plane, along], 1))

    return step
