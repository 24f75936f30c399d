"""What the fit takes as given, refined part-way: the cameras and the mesh's vertices.

Then pixels are collected anew, and the fit goes on with the same texture coordinates.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.config import AppearanceConfig
from pipeline.geometry.normals import shading_normals
from pipeline.scene import Mesh
from pipeline.stages.appearance_fit import AppearanceFit
from pipeline.stages.appearance_light import Shadows, shadows_of
from pipeline.stages.appearance_pixels import PixelSource, hold_out
from pipeline.stages.appearance_poses import refined_poses
from pipeline.stages.appearance_vertices import VertexFit

CAMERA_ROUNDS = (0.25, 0.45)  # shares of the steps: before the search for metals, and before normals bend
VERTEX_ROUND = 0.48  # likewise: the cameras come first, normals of what is no metal bend after


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How far refinement moved the cameras.

    Attributes:
        mean_deg: Mean turn of a camera.
        max_deg: Largest turn.
        mean_pct: Mean way of a camera's centre, in % of the object's diagonal.
        max_pct: Longest way, likewise.
        median_px: Median over the views of how far the object moves in the photo, pixels.
        max_px: The largest of these.
    """

    mean_deg: float
    max_deg: float
    mean_pct: float
    max_pct: float
    median_px: float
    max_px: float


class SourceRefinement:
    """Moves the cameras at some steps of a fit, as long as that helps, and once the mesh's vertices.

    Args:
        source: What the fit's pixels were collected from.
        spared: The photo that the fit does not learn from, or none.
        config: Whether poses are refined, in how many steps vertices are, and the number of steps.
        seed: Of the order in which photos move the vertices.
        progress: Takes a share done and a note meanwhile.
    """

    def __init__(
        self,
        source: PixelSource,
        spared: int | None,
        config: AppearanceConfig,
        *,
        seed: int,
        progress: Callable[[float, str], None],
    ) -> None:
        self.source, self._given = source, source
        self._spared, self._config, self._seed, self._progress = spared, config, seed, progress
        self._camera_steps = {round(part * config.steps) for part in CAMERA_ROUNDS} if config.poses != "off" else set()
        self._camera_steps -= {0}  # nothing is known yet
        masked = source.capture.outlined and all(view.mask_path is not None for view in source.capture.views)
        moving = config.vertex_steps > 0 and masked
        self._vertex_step = max(1, round(VERTEX_ROUND * config.steps)) if moving else None

    @property
    def cam_from_world(self) -> Float[Tensor, "views 4 4"] | None:
        """The refined poses in the order of the capture's views; none when they are as given."""
        return None if self.source.capture is self._given.capture else _poses(self.source)

    def due(self, step: int) -> bool:
        """Whether something is refined before this step."""
        return step in self._camera_steps or step == self._vertex_step

    def apply(self, fit: AppearanceFit) -> None:
        """Refine, and hand the fit the pixels as they then are; what does not help is not tried again."""
        if fit.step in self._camera_steps:
            mode = self._config.poses if self.cam_from_world is None else "on"  # more than one round mends what is off
            capture = refined_poses(fit, self.source, mode)
            if capture is None:
                self._camera_steps = set()
            else:
                self.source = replace(self.source, capture=capture)
                self._collect(fit)
        if fit.step == self._vertex_step:
            steps, note = self._config.vertex_steps, "moving vertices to where the photos agree"
            fit.under.clear()  # room for the photos; they are collected anew on the moved mesh
            found = VertexFit(fit, self.source, self._spared)
            self._take_mesh(found.run(steps, self._seed, lambda part: self._progress(part, note)), fit)

    def _take_mesh(self, mesh: Mesh, fit: AppearanceFit) -> None:
        """Let the fit go on with another mesh of the same triangles."""
        self.source = replace(self.source, mesh=mesh, normals=shading_normals(mesh))
        shadows = shadows_of(mesh) if fit.shadows is not None else None
        self._collect(fit, shadows)

    def _collect(self, fit: AppearanceFit, shadows: Shadows | None = None) -> None:
        fit.under.clear()  # both at once would be the peak of the run's memory
        fit.take_pixels(*hold_out(self.source.collect(self._progress), self._spared), shadows=shadows)

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint has to hold."""
        state = {"over": torch.tensor(not self._camera_steps)}
        if self.cam_from_world is not None:
            state["cam_from_world"] = self.cam_from_world
        mesh = self.source.mesh
        if mesh is not self._given.mesh and mesh.normals is not None:
            state |= {"vertices": mesh.vertices, "normals": mesh.normals}
        return state

    def restore(self, saved: dict[str, Tensor], fit: AppearanceFit) -> None:
        """Take over what `state` told, and hand the fit the pixels that belong to it."""
        if bool(saved["over"]):
            self._camera_steps = set()
        if "cam_from_world" in saved:
            self.source = replace(self.source, capture=self.source.capture.posed(saved["cam_from_world"]))
        if "vertices" in saved:
            moved = replace(self.source.mesh, vertices=saved["vertices"], normals=saved["normals"])
            self._take_mesh(moved, fit)
        elif "cam_from_world" in saved:
            self._collect(fit)

    def drift(self) -> Drift:
        """How far the cameras are from where they were given."""
        before, after = _poses(self._given), _poses(self.source)
        turned = after[:, :3, :3] @ before[:, :3, :3].mT
        cosine = (turned.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2
        angle = torch.rad2deg(torch.acos(cosine.clamp(-1, 1)))
        vertices = self.source.mesh.vertices.double()
        diagonal = (vertices.amax(0) - vertices.amin(0)).norm()
        views = list(zip(self._given.capture.views, self.source.capture.views, strict=True))
        way = torch.stack([(a.camera.camera_center - b.camera.camera_center).norm() for a, b in views]) / diagonal
        some = vertices[:: math.ceil(len(vertices) / 1000)]
        moved = [
            (a.camera.project(some)[0] - b.camera.project(some)[0]).square().sum(1).mean().sqrt() for a, b in views
        ]
        return Drift(
            mean_deg=float(angle.mean()),
            max_deg=float(angle.max()),
            mean_pct=100 * float(way.mean()),
            max_pct=100 * float(way.max()),
            median_px=float(torch.stack(moved).median()),
            max_px=float(torch.stack(moved).max()),
        )


def _poses(source: PixelSource) -> Float[Tensor, "views 4 4"]:
    return torch.stack([view.camera.cam_from_world for view in source.capture.views])
