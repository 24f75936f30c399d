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

from pipeline.geometry.large_steps import LargeSteps
from pipeline.geometry.mesh_ops import face_normals
from pipeline.geometry.outline import mask_distance
from pipeline.raster.gbuffer import clip_positions, depth_range
from pipeline.raster.rasterizer import Rasterizer, Topology
from pipeline.scene import Camera

STIFFNESS = 5.0
VIEWS_A_STEP = 2
RATE, SLOWER_FROM, SLOWER = 0.1, 0.6, 0.3  # of the mean edge; from that share of the steps on by that factor
STAY, FREE_WAY = 0.02, 0.02  # weight of how far vertices moved, in mean edges, and the way below which it is quadratic:
# a vertex that has to go far pays no more for each bit than the many that would go along a little
NEAR_PX = 3.0  # of the masks' outlines, within which the mesh's are compared with them
TURN_BACK = 5  # rounds of taking back what turned faces over


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
    """A photo's outline out of its mask; thin pieces that the mask leaves out or adds are not taken for motion."""
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
        seed: Of the order in which photos are compared.
    """

    def __init__(
        self,
        vertices: Float[Tensor, "vertices 3"],
        faces: Int[Tensor, "faces 3"],
        outlines: list[Outline],
        *,
        rasterizer: Rasterizer,
        seed: int,
    ) -> None:
        self.outlines, self._rasterizer, self._seed = outlines, rasterizer, seed
        device = outlines[0].mask.device
        self._start, self._faces = vertices.float().to(device), faces.to(device)
        self._topology: Topology = rasterizer.topology(self._faces)
        ends = self._start[torch.cat([self._faces[:, [0, 1]], self._faces[:, [1, 2]]])]
        self._edge = float((ends[:, 0] - ends[:, 1]).norm(dim=1).mean())
        self._pixels = sum(float(own.mask.sum()) for own in outlines) / len(outlines)

    def run(self, steps: int, progress: Callable[[float, str], None]) -> Float[Tensor, "vertices 3"]:
        """The moved vertices, on the CPU."""
        moved = LargeSteps(self._start, self._faces, stiffness=STIFFNESS)
        generator, order = torch.Generator().manual_seed(self._seed), list[int]()
        for step in range(steps):
            if step % 10 == 0:
                progress(step / steps, "fitting the outlines")
            offset = moved.offset.to(self._start.device).requires_grad_()
            loss = torch.zeros((), device=offset.device)
            for _ in range(VIEWS_A_STEP):
                order = order or torch.randperm(len(self.outlines), generator=generator).tolist()
                loss = loss + self._difference(self._start + offset, self.outlines[order.pop()]) / VIEWS_A_STEP
            way = offset / self._edge
            stay = (way.square().sum(1) + FREE_WAY**2).sqrt().mean()
            (gradient,) = torch.autograd.grad(loss + STAY * stay, offset)
            moved.step(gradient, RATE * self._edge * (SLOWER if step >= SLOWER_FROM * steps else 1.0))
        return self._without_turned_faces(moved.offset.to(self._start.device)).cpu()

    @torch.no_grad()
    def error(self, vertices: Float[Tensor, "vertices 3"]) -> float:
        """Mean over the photos of the squared difference of coverage, as a share of what the object covers."""
        at = vertices.to(self._start)
        return sum(float(self._difference(at, own)) for own in self.outlines) / len(self.outlines)

    def _difference(self, vertices: Float[Tensor, "vertices 3"], own: Outline) -> Float[Tensor, ""]:
        near, far = depth_range(vertices, own.camera)
        clip = clip_positions(vertices, own.camera, near=near, far=far)
        size = (own.camera.width, own.camera.height)
        raster = self._rasterizer.rasterize(clip, self._faces, size_px=size)
        covered = self._rasterizer.antialias(
            raster.mask.float()[..., None], raster, clip, self._faces, topology=self._topology
        )
        return ((covered[0, ..., 0] - own.mask).square() * own.counts).sum() / self._pixels

    def _without_turned_faces(self, offset: Float[Tensor, "vertices 3"]) -> Float[Tensor, "vertices 3"]:
        """The moved vertices, those of faces that turned over put back to where they were."""
        before = face_normals(self._start, self._faces)
        for _ in range(TURN_BACK):
            turned = (face_normals(self._start + offset, self._faces) * before).sum(1) < 0
            if not bool(turned.any()):
                break
            offset[self._faces[turned].reshape(-1)] = 0
        return self._start + offset
