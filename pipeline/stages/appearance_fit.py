"""The appearance fit: material textures and light by regression over stored pixels.

With the mesh frozen, nothing has to be rasterised in the loop: each step shades a random batch of pixels over
all views and compares it with the photos, so its cost depends neither on image size nor on the triangles.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.adam import Adam
from pipeline.color import srgb_from_linear
from pipeline.config import AppearanceConfig
from pipeline.formats.tensors import load_checkpoint, save_checkpoint
from pipeline.losses import log_srgb_difference, photometric_loss
from pipeline.metrics import psnr
from pipeline.scene import Environment
from pipeline.shading.parsimony import parsimony_loss
from pipeline.shading.prefilter import PrefilteredLight
from pipeline.shading.shade import shade
from pipeline.shading.shadowed_light import ShadowedLight
from pipeline.shading.texture_pyramid import TexturePyramid
from pipeline.stages.appearance_exposure import SAMPLE_PIXELS, UNLOCK_AT, Exposure
from pipeline.stages.appearance_light import FittedLight, Shadows
from pipeline.stages.appearance_normals import NormalDetail, bent_normals
from pipeline.stages.appearance_pixels import Pixels, occurring
from pipeline.stages.appearance_search import best_materials, reconsider

METAL_BASE_COLOR, METAL = 0.8, 0.98  # at the start, where metal explains the photos better
PARSIMONY_UNTIL = 0.62  # share of the steps after which paints may differ again, so that detail comes back
PARSIMONY_PIXELS = 1024
SLOWER_FROM, SLOWER = (0.6, 0.85), 0.4  # shares of the steps from which the rates are lower, each time by this factor
BOUNCE_STEPS = 50
TOLD_STEPS = 100
PSNR_PIXELS = 100_000
SMOOTH_PIXELS = 4096


@dataclass(frozen=True, eq=False, kw_only=True)
class Look:
    """Pixels as a fit explains them.

    Attributes:
        color: Linear radiance.
        values: Base colour, roughness and metallic.
        normal: Unit world normals.
        environment: The light.
    """

    color: Float[Tensor, "pixels 3"]
    values: Float[Tensor, "pixels 5"]
    normal: Float[Tensor, "pixels 3"]
    environment: Environment


@runtime_checkable
class Refinement(Protocol):
    """Something that a fit takes as given and that is refined between its steps (`appearance_refine`)."""

    def due(self, step: int) -> bool:
        """Whether something is refined before this step."""
        ...

    def apply(self, fit: "AppearanceFit") -> None:
        """Refine, and let the fit take the pixels that belong to it."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Its tensors by name, for the checkpoint."""
        ...

    def restore(self, saved: dict[str, Tensor], fit: "AppearanceFit") -> None:
        """Take over what `state` told, and let the fit take the pixels that belong to it."""
        ...


class AppearanceFit:
    """Parameters, optimisers and the loss of one fit.

    Args:
        pixels: What the photos show.
        config: Steps, sizes and rates.
        texture_px: Texels along an edge of the maps.
        seed: Seed of the batches; step k always draws the same pixels.
        shadows: What the mesh hides from itself; none takes every point as in the open.
        metal: Whether the object starts as metal.
    """

    def __init__(
        self,
        pixels: Pixels,
        config: AppearanceConfig,
        *,
        texture_px: int,
        seed: int,
        shadows: Shadows | None = None,
        metal: bool = False,
    ) -> None:
        self.config, self.shadows = config, shadows
        self.step, self.recent_loss, self.metal = 0, 0.0, metal
        self.start_metallic = METAL if metal else config.start_metallic
        self.metal_in_places = False
        base_color = METAL_BASE_COLOR if metal else config.start_base_color
        start = [base_color] * 3 + [config.start_roughness, self.start_metallic]
        self.maps = TexturePyramid(texture_px, torch.tensor(start, device=pixels.uv.device))
        self.normals = NormalDetail(texture_px, config, pixels.uv.device, metal=metal)
        self.seed = seed
        self.held_out: Pixels | None = None
        self.under = _shuffled_by_light(pixels, seed)
        self.lights = [FittedLight(config, own) for own in self.under]
        self._light_numbers = [int(own.light_index[0]) for own in self.under if own.light_index is not None]
        self.exposure = Exposure(self.under, config.exposure, metal=metal)
        fitted = [parameter for light in self.lights for parameter in light.parameters.values()]
        self.optimizer = Adam(fitted, rate=config.learning_rate_light)

    def begin_under(self, lights: list[FittedLight], *, metal_in_places: bool = False) -> None:
        """Begin with the lights that a trial found, and with the materials that explain the photos best under them.

        With `metal_in_places` these are metals where metals suit better, from the first step on.

        Not with the lights alone: while the material is still to be found, parsimony makes dark paint alike to bright
        one and darkens the light that falls on it (a cabinet's dark top, 5 dB of base colour).
        """
        for own, found in zip(self.lights, lights, strict=True):
            own.take_over(found)
        kinds = (0.0, 1.0) if metal_in_places else (float(self.metal),)
        best = best_materials(self.under, self.lights, self.maps, self.shadows, metallic=kinds)
        self.maps.assign(best.cells, best.values)
        self.metal_in_places = metal_in_places
        self.normals.metal = self.metal or metal_in_places

    def take_pixels(self, pixels: Pixels, held_out: Pixels | None = None, *, shadows: Shadows | None = None) -> None:
        """Go on with other pixels of the same photos: of cameras or a mesh that were refined.

        Material, light and all else that was learned stays. Pixels of photos that had none before are left out.

        Args:
            pixels: What to learn from.
            held_out: The photo that the fit does not learn from, or none.
            shadows: Of the refined mesh; none leaves them as they are.

        Raises:
            ValueError: When not all lights have pixels any longer.
        """
        if pixels.view is not None and self.exposure.views:
            pixels = pixels.batch(torch.isin(pixels.view.long(), torch.cat(self.exposure.views)))
        under = _shuffled_by_light(pixels, self.seed)
        if len(under) != len(self.lights):
            raise ValueError(f"pixels under {len(under)} lights for a fit of {len(self.lights)}")
        self.under, self.held_out, self.shadows = under, held_out, shadows or self.shadows

    @property
    def environment(self) -> Environment:
        """The current light; of several, that of the first pass."""
        return self.lights[0].environment

    @property
    def _search_step(self) -> int:
        """At this step every light has had its turn, and metals are looked for."""
        return max(len(self.lights), round(self.config.metallic_from * self.config.steps))

    @property
    def _unlock_step(self) -> int:
        """At this step, after the search for metals, the photos may turn out to be exposed differently."""
        return max(self._search_step + 1, round(UNLOCK_AT * self.config.steps))

    def advance(self) -> float:
        """Take one step, under one of the lights; returns the photometric loss."""
        if self.config.metal_search and self.step == self._search_step:
            found = reconsider(self.under, self.lights, self.maps, self.shadows, began_as_metal=self.metal)
            self.maps.assign(found.cells, found.values)
        if self.step == self._unlock_step:
            self.exposure.unlock(self._explained(SAMPLE_PIXELS))
        turn = self.step % len(self.lights)
        batch = self._draw(turn, self.step // len(self.lights))
        uv = torch.cat([batch.uv, self._beside(batch.uv)])
        read, bent = self.maps.read(uv), self.normals.texture.read(uv) if self.normals.bend_at(self.step) else None
        values, beside = read.values[: len(batch)], read.values[len(batch) :]
        bends = None if bent is None else self.normals.bends(bent.values)
        normal = batch.normal if bends is None else bent_normals(batch.normal, bends[: len(batch)])
        renew = self.step % BOUNCE_STEPS < len(self.lights)
        at_points = self.lights[turn].on(batch, self.shadows, self.maps, normal=normal, renew=renew)
        color = self._shade(batch, values, normal, at_points)
        photometric = self._difference(self.exposure.applied(color, batch), batch.target)
        loss = photometric + self._material_priors(values, beside) + self.lights[turn].priors()
        if bends is not None:
            loss = loss + self.normals.priors(bends[: len(batch)], bends[len(batch) :], values[:, 4])
        loss.backward()
        slowing = math.prod(SLOWER for part in SLOWER_FROM if self.step >= round(part * self.config.steps))
        self.optimizer.rate = slowing * self.config.learning_rate_light
        self.optimizer.step()
        self.exposure.step()
        read.learn(rate=slowing * self.config.learning_rate_maps)
        if bent is not None:
            bent.learn(rate=slowing * self.normals.rate)
        self.step += 1
        return float(photometric.detach())

    def _difference(self, predicted: Float[Tensor, "pixels 3"], target: Float[Tensor, "pixels 3"]) -> Float[Tensor, ""]:
        if self.config.loss == "log_srgb":
            return log_srgb_difference(predicted, target).mean()
        return photometric_loss(predicted, target)

    def _shade(
        self,
        batch: Pixels,
        values: Float[Tensor, "pixels 5"],
        normal: Float[Tensor, "pixels 3"],
        at_points: PrefilteredLight | ShadowedLight,
    ) -> Float[Tensor, "pixels 3"]:
        metallic = values[:, 4]
        if self.step < self._search_step and not self.metal_in_places:
            metallic = torch.full_like(metallic, self.start_metallic)
        return shade(
            at_points,
            base_color=values[:, :3],
            roughness=values[:, 3],
            metallic=metallic,
            normal=normal,
            wo=batch.wo,
        )

    def _light_of(self, pixels: Pixels) -> FittedLight:
        """The light that the first of some pixels was photographed under."""
        if pixels.light_index is None:
            return self.lights[0]
        return self.lights[self._light_numbers.index(int(pixels.light_index[0]))]

    @torch.no_grad()
    def look(self, pixels: Pixels) -> Look:
        """Pixels under one light by the present material and that light; the fit stays as it is."""
        values, normal, light = self.maps(pixels.uv), pixels.normal, self._light_of(pixels)
        if self.normals.bend_at(self.step):
            normal = bent_normals(normal, self.normals.bends(self.normals.texture(pixels.uv)))
        at_points = light.on(pixels, self.shadows, self.maps, normal=normal, renew=False)
        return Look(
            color=self._shade(pixels, values, normal, at_points),
            values=values,
            normal=normal,
            environment=light.environment,
        )

    def shown(
        self, pixels: Pixels, values: Float[Tensor, "pixels 5"], normal: Float[Tensor, "pixels 3"]
    ) -> Float[Tensor, "pixels 3"]:
        """What a photo shows of pixels under one light whose material and normals are others than the fit's.

        Differentiable with respect to these and to `pixels.wo`; the light at the points is constant, and with it the
        diffuse shading. Normals bend here as they do on the surface that the fit knows.
        """
        if self.normals.bend_at(self.step):
            normal = bent_normals(normal, self.normals.bends(self.normals.texture(pixels.uv.detach())))
        with torch.no_grad():
            at_points = self._light_of(pixels).on(pixels, self.shadows, self.maps, normal=normal, renew=False)
        return self.exposure.applied(self._shade(pixels, values, normal, at_points), pixels)

    def photo_psnr(self) -> float:
        """PSNR in dB, in sRGB, over a sample of the pixels that the fit learned from."""
        explained = self._explained(PSNR_PIXELS)
        colors = [self.exposure.applied(color, some).detach() for some, color in explained]
        targets = [some.target for some, _ in explained]
        return psnr(srgb_from_linear(torch.cat(colors)), srgb_from_linear(torch.cat(targets)))

    def held_out_psnr(self, photo: Pixels) -> float:
        """PSNR in dB, in sRGB, of a photo that the fit does not learn from, exposed as far as is known."""
        return psnr(srgb_from_linear(photo.exposed(self.look(photo).color)), srgb_from_linear(photo.target))

    def _explained(self, pixels: int) -> list[tuple[Pixels, Float[Tensor, "_ 3"]]]:
        """So many pixels, evenly over the lights, with their colours by the present material and light."""
        some = [own.batch(slice(pixels // len(self.lights))) for own in self.under]
        return [(p, self.look(p).color) for p in some]

    def _draw(self, turn: int, round_: int) -> Pixels:
        """The next of the shuffled pixels under a light; after the last come the first again."""
        own = self.under[turn]
        count = min(self.config.batch_px, len(own))
        start = round_ * count % len(own)
        if start + count <= len(own):
            return own.batch(slice(start, start + count))
        return own.batch(torch.arange(start, start + count, device=own.uv.device) % len(own))

    def _beside(self, uv: Float[Tensor, "pixels 2"]) -> Float[Tensor, "_ 2"]:
        """Points a texel or two beside the first of some points."""
        uv = uv[:SMOOTH_PIXELS]
        shift = torch.randn(uv.shape, generator=torch.Generator().manual_seed(self.step)).to(uv.device)
        return uv + shift * (1.5 / self.maps.size)

    def _material_priors(self, values: Float[Tensor, "pixels 5"], beside: Float[Tensor, "_ 5"]) -> Float[Tensor, ""]:
        config, metallic = self.config, values[:, 4]
        loss = -config.roughness_prior * (metallic.detach() * values[:, 3]).mean()
        if self.step >= self._search_step:  # until then no photo speaks against it
            loss = loss + config.metallic_prior * torch.minimum(metallic, 1 - metallic).mean()
        part = self.step / config.steps
        if part < PARSIMONY_UNTIL and self.step >= 10 and config.parsimony > 0:
            sigma = 0.6 + (0.25 - 0.6) * part / PARSIMONY_UNTIL
            some = values[:PARSIMONY_PIXELS]
            entropy, unlike = parsimony_loss(some[:, :3], some[:, 3:], sigma=sigma)
            loss = loss + config.parsimony * (entropy + unlike)
        return loss + config.smoothness * (beside - values[: len(beside)]).abs().mean()

    def run(
        self,
        path: Path,
        progress: Callable[[float, str], None],
        *,
        refinement: Refinement | None = None,
        show: Callable[[], None] | None = None,
    ) -> float:
        """Fit from the checkpoint at `path`, if there is one, to the last step; returns the mean of the last losses.

        Args:
            path: Where checkpoints go.
            progress: Takes the share done, and in words the loss and how well the fit explains the photo held out.
            refinement: What is refined between the steps, or nothing.
            show: Called every `TOLD_STEPS` steps, to show how far the fit is.
        """
        self._resume(path, refinement)
        told = ""
        while self.step < self.config.steps:
            if refinement is not None and refinement.due(self.step):
                refinement.apply(self)
            loss = self.advance()
            self.recent_loss = loss if self.recent_loss == 0 else 0.95 * self.recent_loss + 0.05 * loss
            if self.held_out is not None and self.step % TOLD_STEPS == 0:
                told = f", {self.held_out_psnr(self.held_out):.1f} dB on a photo held out"
            if self.step % 10 == 0:
                progress(self.step / self.config.steps, f"step {self.step}, loss {self.recent_loss:.4f}{told}")
            if show is not None and self.step % TOLD_STEPS == 0:
                show()
            if self.step % self.config.checkpoint_steps == 0:
                self._checkpoint(path, refinement)
        return self.recent_loss

    def _state(self) -> dict[str, Tensor]:
        """Every tensor that a fit consists of, by name; the entries share memory with the fit."""
        state = {f"maps.{name}": value for name, value in self.maps.state().items()}
        state |= {f"normals.{name}": value for name, value in self.normals.texture.state().items()}
        for k, light in enumerate(self.lights):
            state |= {f"lights.{k}.{name}": value for name, value in light.state().items()}
            for what, parameter in light.parameters.items():
                moments = self.optimizer.state[parameter].items()
                state |= {f"optimizer.{k}.{what}.{name}": value for name, value in moments}
        return state | {f"exposure.{name}": value for name, value in self.exposure.state().items()}

    def _checkpoint(self, path: Path, refinement: Refinement | None) -> None:
        recent = torch.tensor(self.recent_loss, dtype=torch.float64)
        refined = {} if refinement is None else {f"refined.{k}": v for k, v in refinement.state().items()}
        save_checkpoint(self._state() | refined | {"step": torch.tensor(self.step), "recent_loss": recent}, path)

    def _resume(self, path: Path, refinement: Refinement | None) -> None:
        """Continue an interrupted fit, if there is a checkpoint of it."""
        saved = load_checkpoint(path)
        if not saved:
            return
        self.maps.restore(_below(saved, "maps."))
        self.normals.texture.restore(_below(saved, "normals."))
        self.exposure.restore(_below(saved, "exposure."))
        self.step, self.recent_loss = int(saved["step"]), float(saved["recent_loss"])
        for k, light in enumerate(self.lights):
            light.restore(_below(saved, f"lights.{k}."))
            for what, parameter in light.parameters.items():
                state = {name: value.clone() for name, value in _below(saved, f"optimizer.{k}.{what}.").items()}
                if state:  # a light whose turn never came has none
                    self.optimizer.state[parameter] = state
        if refinement is not None:
            refinement.restore(_below(saved, "refined."), self)


def _below(saved: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in saved.items() if name.startswith(prefix)}


def _shuffled_by_light(pixels: Pixels, seed: int) -> list[Pixels]:
    """The pixels under each light, in random order: a step then reads a run of memory, not places all over it."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(pixels), generator=generator).to(pixels.uv.device)
    if pixels.light_index is None:
        return [pixels.batch(order)]
    light = pixels.light_index[order]
    return [pixels.batch(order[light == k]) for k in occurring(light)]
