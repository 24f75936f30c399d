"""DEODR (Martin de La Gorce): C++, one thread, antialiasing by edge overdraw, no perspective correction."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from raster_peers.scene import Scene, as_float64


def deodr_step(scene: Scene, *, kernels_alone: bool = False) -> Callable[[], Tensor]:
    """Its 2D renderer with its own silhouette flags, and back from the squared error to the vertices.

    The projection is written by hand, forward and backward: faster than through torch or its own scene classes.

    Args:
        scene: What to draw.
        kernels_alone: Call its two kernels on prepared buffers, in place of its own `render_compare_and_backward`,
            which is what its users call and which copies and masks the picture.
    """
    from deodr.differentiable_renderer import Scene2D, renderScene, renderSceneB
    from deodr.triangulated_mesh import TriMeshAdjacencies

    size, vertices, faces = scene.size_px, as_float64(scene.vertices), scene.faces.numpy().astype(np.uint32)
    colors, target = as_float64(scene.colors), as_float64(scene.target)
    adjacency = TriMeshAdjacencies(faces)
    no_faces, zeros = np.zeros(len(faces), bool), np.zeros((len(vertices), 3))

    def step() -> Tensor:
        depths = vertices[:, 2].copy()
        ij = vertices[:, :2] * (scene.focal_px / depths[:, None]) + (size / 2 - 0.5)
        picture = Scene2D(
            faces=faces,
            faces_uv=faces,
            ij=ij,
            depths=depths,
            textured=no_faces,
            uv=zeros[:, :2].copy(),
            shade=zeros[:, 2].copy(),
            colors=colors,
            shaded=no_faces,
            edgeflags=adjacency.edge_on_silhouette(ij),
            height=size,
            width=size,
            nb_colors=3,
            texture=np.zeros((0, 0)),
            background_color=np.zeros(3),
            backface_culling=True,  # its gradients refuse to go without
        )
        if kernels_alone:
            image, z_buffer = np.empty((size, size, 3)), np.empty((size, size))
            renderScene(picture, 1.0, image, z_buffer)
            renderSceneB(picture, 1.0, image, z_buffer, (image - target) * (2 / image.size))
        else:
            picture.render_compare_and_backward(target)
            picture.ij_b /= image_size(picture)
        to_plane = picture.ij_b * (scene.focal_px / depths[:, None])
        along = -(to_plane * vertices[:, :2]).sum(1, keepdims=True) / depths[:, None]
        return torch.from_numpy(np.concatenate([to_plane, along], 1))

    return step


def image_size(picture: object) -> int:
    """Numbers in the picture: its own error is their sum of squares, ours the mean."""
    return picture.height * picture.width * picture.nb_colors
