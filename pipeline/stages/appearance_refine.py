"""What the fit takes as given, refined part-way: the cameras. Then pixels are collected anew, and the fit goes on.

Whatever else is to be refined (the mesh's vertices, with the same texture coordinates) goes the same way: replace it
in the source of the pixels, save it in `state`, put it back in `restore`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.config import AppearanceConfig
from pipeline.stages.appearance_fit import AppearanceFit
from pipeline.stages.appearance_pixels import PixelSource, hold_out
from pipeline.stages.appearance_poses import refined_poses

ROUNDS = (0.25, 0.45)  # shares of the steps: before the search for metals, and before normals bend


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


class CameraRefinement:
    """Moves the cameras at some steps of a fit, as long as that helps.

    Args:
        source: What the fit's pixels were collected from.
        spared: The photo that the fit does not learn from, or none.
        config: Whether poses are refined, and the number of steps.
        progress: Takes a share done and a note while pixels are collected.
    """

    def __init__(
        self,
        source: PixelSource,
        spared: int | None,
        config: AppearanceConfig,
        progress: Callable[[float, str], None],
    ) -> None:
        self.source, self._spared, self._mode, self._progress = source, spared, config.poses, progress
        self._given = source
        self._steps = {round(part * config.steps) for part in ROUNDS} if config.poses != "off" else set()
        self._steps -= {0}  # nothing is known yet

    @property
    def cam_from_world(self) -> Float[Tensor, "views 4 4"] | None:
        """The refined poses in the order of the capture's views; none when they are as given."""
        return None if self.source is self._given else _poses(self.source)

    def due(self, step: int) -> bool:
        """Whether something is refined before this step."""
        return step in self._steps

    def apply(self, fit: AppearanceFit) -> None:
        """Refine, and hand the fit the pixels as they then are; what does not help is not tried again."""
        mode = self._mode if self.cam_from_world is None else "on"  # what is off takes more than one round to mend
        capture = refined_poses(fit, self.source, mode)
        if capture is None:
            self._steps = set()
            return
        self.source = replace(self.source, capture=capture)
        self._collect(fit)

    def _collect(self, fit: AppearanceFit) -> None:
        fit.under.clear()  # both at once would be the peak of the run's memory
        fit.take_pixels(*hold_out(self.source.collect(self._progress), self._spared))

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint has to hold."""
        poses = self.cam_from_world
        return {"over": torch.tensor(not self._steps)} | ({} if poses is None else {"cam_from_world": poses})

    def restore(self, saved: dict[str, Tensor], fit: AppearanceFit) -> None:
        """Take over what `state` told, and hand the fit the pixels that belong to it."""
        if bool(saved["over"]):
            self._steps = set()
        if "cam_from_world" in saved:
            self.source = replace(self.source, capture=self.source.capture.posed(saved["cam_from_world"]))
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
