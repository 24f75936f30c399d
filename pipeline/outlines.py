"""The mesh's vertices moved until it covers in each photo what the mask covers, sharp edges and thin parts included.

A surface out of a grid cuts the corners of edges that are sharper than its cells, and simplifying it does the same to
what is thin: by less than a cell, but outlines show it. Here coverage is rendered, antialiased, and its difference to
the masks moves the vertices (Large Steps). Where no outline tells anything the surface stays as it is: stereo made it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.geometry.large_steps import Search, moved_vertices
from pipeline.geometry.outline import mask_distance
from pipeline.raster.gbuffer import clip_positions, depth_range
from pipeline.raster.rasterizer import Rasterizer
from pipeline.scene import Camera

STAY = 0.02  # weight of how far vertices move, in mean edges
NEAR_PX = 3.0  # of the masks' outlines, within which the mesh's are compared with them


@dataclass(frozen=True, eq=False, kw_only=True)
class Outline:
    """What one photo tells.

    Attributes:
        camera: At the size of the mask.
        mask: Coverage.
        counts: Where it is compared: not where the mask says something that no small motion explains.
    """

    camera: Camera
    mask: Float[Tensor, "height width"]
    counts: Float[Tensor, "height width"]


def outline_of(camera: Camera, mask: Float[np.ndarray, "height width"], device: torch.device) -> Outline:
    """A photo's outline out of its mask; pieces that the mask leaves out or adds are not taken for motion."""
    near = np.abs(mask_distance(mask)) < NEAR_PX
    return Outline(
        camera=camera,
        mask=torch.from_numpy(mask).float().to(device),
        counts=torch.from_numpy(near).float().to(device),
    )


class OutlineFit:
    """A mesh and the outlines that it is to have.

    Args:
        vertices: Positions, world units.
        faces: Triangles.
        outlines: Of all photos.
        rasterizer: Draws the mesh.
    """

    def __init__(
        self,
        vertices: Float[Tensor, "vertices 3"],
        faces: Int[Tensor, "faces 3"],
        outlines: list[Outline],
        rasterizer: Rasterizer,
    ) -> None:
        self.outlines, self._rasterizer = outlines, rasterizer
        device = outlines[0].mask.device
        self._start, self._faces = vertices.float().to(device), faces.to(device)
        self._topology = rasterizer.topology(self._faces)
        self._pixels = sum(float(own.mask.sum()) for own in outlines) / len(outlines)

    def run(self, steps: int, seed: int, progress: Callable[[float], None]) -> Float[Tensor, "vertices 3"]:
        """The moved vertices, on the CPU."""
        moved = moved_vertices(
            self._start,
            self._faces,
            self.difference,
            len(self.outlines),
            Search(steps=steps, stay=STAY, seed=seed),
            progress,
        )
        return moved.cpu()

    @torch.no_grad()
    def error(self, vertices: Float[Tensor, "vertices 3"]) -> float:
        """Mean of `difference` over the photos."""
        at = vertices.to(self._start)
        return sum(float(self.difference(at, k)) for k in range(len(self.outlines))) / len(self.outlines)

    def difference(self, vertices: Float[Tensor, "vertices 3"], view: int) -> Float[Tensor, ""]:
        """Squared difference of coverage in a photo, as a share of what the object covers in one."""
        own = self.outlines[view]
        near, far = depth_range(vertices, own.camera)
        clip = clip_positions(vertices, own.camera, near=near, far=far)
        size = (own.camera.width, own.camera.height)
        raster = self._rasterizer.rasterize(clip, self._faces, size_px=size)
        covered = self._rasterizer.antialias(
            raster.mask.float()[..., None], raster, clip, self._faces, topology=self._topology
        )
        return ((covered[0, ..., 0] - own.mask).square() * own.counts).sum() / self._pixels
