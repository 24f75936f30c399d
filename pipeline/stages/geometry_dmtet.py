"""Narrow-band DMTet: signed distances move to where the surface, drawn with material and light, looks like the photos.

Shen et al. 2021, "Deep Marching Tetrahedra", without the network and from what masks and stereo have found. What is
fitted is a correction of those distances, first on a grid of twice the spacing, which goes over into the next by exact
subdivision, so that what the hull knows of thin parts stays. Only points near the surface move, along smoothed
gradients and all on one scale, and hardly out of the hull. Off by default: docs/ablation.md tells why.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.adam import Adam
from pipeline.config import GeometryConfig
from pipeline.errors import CaptureError
from pipeline.formats.tensors import load_checkpoint, save_checkpoint
from pipeline.geometry.marching_tetrahedra import crossed_edges
from pipeline.geometry.narrow_band import NarrowBand, level_shape, near_marked, subdivided
from pipeline.geometry.tet_grid import TetGrid
from pipeline.geometry.uniform_steps import UniformSteps
from pipeline.losses import sign_loss, white_light_loss
from pipeline.runtime import Runtime
from pipeline.scene import Capture, Environment
from pipeline.shading.prefilter import prefilter
from pipeline.shading.turn import Turn
from pipeline.stages.geometry_joint_photos import Photos, read_photos
from pipeline.stages.geometry_surface import Crossing, between, drawn, image_loss
from pipeline.workspace import StageContext

STRIDES = (2, 1)  # of the grids of the correction, in cells; one of 4 dents everything before it hollows anything
WARM_UP = 0.25  # share of the steps in which only material and light learn: before, any shape explains what they cannot
BAND = 2  # cells of such a grid, from the surface to the farthest points that move
RATE, SLOWER_FROM, SLOWER = 0.1, 0.6, 0.3  # of such a cell; slower from that share of a grid's steps on
SMOOTHED = 8  # rounds, of the gradient
OUTSIDE = 0.25  # cells: how far the surface may lie outside of the hull
START = (-1.4, -1.4, -1.4, -1.4)  # base colour and roughness, before the sigmoid: .2
START_LIGHT, LIGHT_PX = 1.5, 64
RATE_MATERIAL, RATE_LIGHT = 0.05, 0.06  # before the sigmoid; of the logarithm
SIGN_WEIGHT, BENT_WEIGHT, WHITE_WEIGHT, OUTSIDE_WEIGHT = 0.001, 0.1, 0.02, 0.1
CHECKPOINT_STEPS = 25


def refine_distances(  # noqa: PLR0913  # one per input
    capture: Capture,
    grid: TetGrid,
    start: Float[Tensor, "nx ny nz"],
    hull: Float[Tensor, "nx ny nz"],
    config: GeometryConfig,
    context: StageContext,
    progress: Callable[[float, str], None],
) -> Float[Tensor, "nx ny nz"]:
    """The distances after the fit.

    Args:
        capture: Photos with masks.
        grid: The points of `start`.
        start: Signed distances, world units, negative inside.
        hull: Those to the visual hull. Nothing leaves it by more than `OUTSIDE` where every mask is trusted; else that
            has a price.
        config: Steps, photos a step and their size.
        context: Takes the loss, where the surface began to move and at the end.
        progress: Told the share done and a note.

    Raises:
        CaptureError: When the surface vanishes.
    """
    photos = read_photos(
        capture,
        size_px=config.joint_px,
        device=context.runtime.device,
        progress=lambda part, note: progress(0.1 * part, note),
    )
    dissent = capture.mask_dissent if config.dissent is None else config.dissent
    fit = BandFit(photos, grid, start, hull, config, context.runtime, hard=dissent == 0)
    fit.run(context.folder / "dmtet.safetensors", lambda part, note: progress(0.1 + 0.9 * part, note))
    context.metrics.update(dmtet_loss_before=fit.first_loss, dmtet_loss=fit.recent_loss)
    return fit.distances().cpu()


class BandFit:
    """Parameters, steps and the loss of one fit.

    Attributes:
        start: Distances that it begins with, world units.
        correction: Of these, on the grid of the present stride, world units.
        material: Base colour and roughness at the points, before the sigmoid. All is dielectric.
        lights: Logarithms of radiance per texel of an octahedral map, for each light.
        first_loss: Mean of the last losses before the surface began to move.
        recent_loss: Mean of the last losses.
    """

    def __init__(  # noqa: PLR0913  # one per input
        self,
        photos: Photos,
        grid: TetGrid,
        start: Float[Tensor, "nx ny nz"],
        hull: Float[Tensor, "nx ny nz"],
        config: GeometryConfig,
        runtime: Runtime,
        *,
        hard: bool,
    ) -> None:
        device = runtime.device
        self.photos, self.config, self.runtime, self._hard = photos, config, runtime, hard
        self.grid = replace(grid, origin=grid.origin.float().to(device))
        self.start = start.float().to(device)
        self._least = hull.float().to(device) - OUTSIDE * grid.spacing
        self.step, self.first_loss, self.recent_loss = 0, 0.0, 0.0
        self.material = torch.tensor(START, device=device).repeat(start.numel(), 1).requires_grad_()
        numbers, self._light_of = photos.light_index.unique(return_inverse=True)
        self.lights = torch.full((len(numbers), LIGHT_PX**2, 3), START_LIGHT, device=device).log().requires_grad_()
        self._adam = Adam([self.material], rate=RATE_MATERIAL), Adam([self.lights], rate=RATE_LIGHT)
        ends = torch.stack([self.grid.origin, self.grid.positions(torch.tensor([start.numel() - 1], device=device))[0]])
        self._bounds = torch.cartesian_prod(*ends.mT)
        self._warm_up = max(1, round(WARM_UP * config.dmtet_steps))
        self.correction = self.start.new_zeros(level_shape(grid.shape, STRIDES[0]))
        self._enter(0)

    def run(self, path: Path, progress: Callable[[float, str], None]) -> None:
        """Fit from the checkpoint at `path`, if there is one, to the last step."""
        self._resume(path)
        while self.step < self.config.dmtet_steps:
            loss = self.advance()
            self.recent_loss = loss if self.recent_loss == 0 else 0.9 * self.recent_loss + 0.1 * loss
            if self.step <= self._warm_up:
                self.first_loss = self.recent_loss
            progress(self.step / self.config.dmtet_steps, f"moving the surface, loss {self.recent_loss:.4f}")
            if self.step % CHECKPOINT_STEPS == 0:
                save_checkpoint(self._state(), path)
        path.unlink(missing_ok=True)

    def advance(self) -> float:
        """Take one step with some photos of one light; returns the loss against them."""
        level, part = self._level(self.step)
        if level != self.level:
            self._enter(level)
        generator = torch.Generator().manual_seed(self.runtime.seed * 1_000_003 + self.step)
        own = (self._light_of == self.step % len(self.lights)).nonzero()[:, 0]
        some = torch.randperm(len(own), generator=generator)[: self.config.joint_batch_views]
        frozen = self.step < self._warm_up
        correction = self.correction.detach().requires_grad_(not frozen)
        loss, surface = self._compared(self._corrected(correction), own[some.to(own.device)], generator)
        (loss + self._priors(surface, correction)).backward()
        for adam in self._adam:
            adam.step()
        if correction.grad is not None:
            self._move(correction.grad, RATE * (SLOWER if part > SLOWER_FROM else 1.0))
        self.step += 1
        return float(loss.detach())

    def distances(self) -> Float[Tensor, "nx ny nz"]:
        """The corrected distances, world units."""
        return self._corrected(self.correction)

    def _level(self, step: int) -> tuple[int, float]:
        """The number of the grid of a step, and the share done of its steps; the first also waits for the warm-up."""
        moving = max(0, step - self._warm_up) / max(1, self.config.dmtet_steps - self._warm_up) * len(STRIDES)
        level = min(int(moving), len(STRIDES) - 1)
        return level, moving - level

    def _enter(self, level: int) -> None:
        """Go on with the correction on the next grid."""
        shape = level_shape(self.grid.shape, STRIDES[level])
        if level > 0:
            self.correction = subdivided(self.correction, shape)
        self.level = level
        crossed = crossed_edges(self.distances(), self.grid)
        marked = torch.zeros(self.start.numel(), dtype=torch.bool, device=self.start.device)
        marked[torch.cat([crossed.low, crossed.high])] = True  # distances farther away may be any
        self._band = NarrowBand(near_marked(marked.reshape(self.start.shape), STRIDES[level], BAND))
        self._steps = UniformSteps(self.correction.reshape(-1)[self._band.index])

    def _corrected(self, correction: Float[Tensor, "cx cy cz"]) -> Float[Tensor, "nx ny nz"]:
        """The distances with a correction on the present grid."""
        for stride in STRIDES[self.level + 1 :]:
            correction = subdivided(correction, level_shape(self.grid.shape, stride))
        distances = self.start + correction
        return torch.maximum(distances, self._least) if self._hard else distances

    def _move(self, gradient: Float[Tensor, "cx cy cz"], rate: float) -> None:
        """One step of the correction, `rate` in cells of its grid."""
        own = self._band.smoothed(gradient.reshape(-1).index_select(0, self._band.index), SMOOTHED)
        way = rate * STRIDES[self.level] * self.grid.spacing * self._steps.after(own)
        self.correction.view(-1)[self._band.index] -= way

    def _compared(
        self, distances: Float[Tensor, "nx ny nz"], index: Tensor, generator: torch.Generator
    ) -> tuple[Float[Tensor, ""], Crossing]:
        """How much photos of one light differ from a surface over a random background, and that surface."""
        photos = self.photos.batch(index)
        background = torch.rand(photos.color.shape, generator=generator).to(photos.color)
        turn = Turn(
            light_from_world=photos.light_from_world,
            of_point=torch.arange(len(index), device=index.device),
            bounce=torch.zeros_like(index),
        )
        light = self.lights[self._light_of[index[0]]].exp()
        surface = self._crossing(distances)
        image = drawn(
            surface,
            photos.camera,
            background,
            light=prefilter(Environment(coefficients=light, basis="octahedral"), turn),
            bounds=self._bounds,
            rasterizer=self.runtime.rasterizer,
        )
        return image_loss(image, photos, background), surface

    def _crossing(self, distances: Float[Tensor, "nx ny nz"]) -> Crossing:
        """The surface, with material interpolated like positions.

        Raises:
            CaptureError: When all points are on one side.
        """
        crossed = crossed_edges(distances.detach(), self.grid)
        count = len(crossed.low)
        if not count:
            raise CaptureError(f"no surface is left after {self.step} steps", remedy="geometry.dmtet_steps=0")
        both = torch.cat([crossed.low, crossed.high])
        sdf = distances.reshape(-1).index_select(0, both).reshape(2, count)
        material = torch.sigmoid(self.material.index_select(0, both))
        material = torch.cat([material, torch.zeros_like(material[:, :1])], 1).reshape(2, count, 5)
        position = self.grid.positions(both).reshape(2, count, 3)
        return between(crossed.faces, position=position, sdf=sdf, material=material)

    def _priors(self, surface: Crossing, correction: Float[Tensor, "cx cy cz"]) -> Float[Tensor, ""]:
        """Weighted loss of needless surface, of a bent correction, of a light with a cast and of leaving the hull."""
        cell, own = STRIDES[self.level] * self.grid.spacing, correction.reshape(-1).index_select(0, self._band.index)
        loss = WHITE_WEIGHT * white_light_loss(self.lights.exp().reshape(-1, 3))
        loss = loss + SIGN_WEIGHT * sign_loss(surface.sdf_ends / self.grid.spacing)
        loss = loss + BENT_WEIGHT * ((own - self._band.beside(own)) / cell).square().mean()
        if not self._hard:
            outside = (self._least - self._corrected(correction)).clamp_min(0) / self.grid.spacing
            loss = loss + OUTSIDE_WEIGHT * outside.mean()
        return loss

    def _state(self) -> dict[str, Tensor]:
        """Every tensor that a fit consists of, by name."""
        state = {
            "step": torch.tensor(self.step),
            "losses": torch.tensor([self.first_loss, self.recent_loss], dtype=torch.float64),
            "correction": self.correction,
            "band": self._band.index,
            "mean": self._steps.mean,
            "square": torch.tensor(self._steps.square, dtype=torch.float64),
            "count": torch.tensor(self._steps.count),
        }
        for name, parameter, adam in zip(("material", "lights"), (self.material, self.lights), self._adam, strict=True):
            state |= {name: parameter, **{f"{name}.{key}": value for key, value in adam.state[parameter].items()}}
        return state

    def _resume(self, path: Path) -> None:
        """Continue an interrupted fit, if there is a checkpoint of it."""
        saved = load_checkpoint(path)
        if not saved:
            return
        self.step, (self.first_loss, self.recent_loss) = int(saved["step"]), saved["losses"].tolist()
        self.level = self._level(self.step - 1)[0]
        self.correction = saved["correction"].to(self.start)
        inside = torch.zeros(self.correction.numel(), dtype=torch.bool)
        inside[saved["band"]] = True
        self._band = NarrowBand(inside.reshape(self.correction.shape).to(self.start.device))
        self._steps = UniformSteps(saved["mean"].to(self.start))
        self._steps.mean, self._steps.square = saved["mean"].to(self.start), float(saved["square"])
        self._steps.count = int(saved["count"])
        for name, parameter, adam in zip(("material", "lights"), (self.material, self.lights), self._adam, strict=True):
            parameter.data.copy_(saved[name])
            for key, value in adam.state[parameter].items():
                value.copy_(saved[f"{name}.{key}"])
