"""The appearance fit: material textures and light by regression over stored pixels.

With the mesh frozen, nothing has to be rasterised in the loop: each step shades a random batch of pixels over
all views and compares it with the photos, so its cost depends neither on image size nor on the triangles.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipeline.color import srgb_from_linear
from pipeline.config import AppearanceConfig
from pipeline.losses import parsimony_loss, photometric_loss, white_light_loss
from pipeline.metrics import psnr
from pipeline.scene import Environment
from pipeline.shading.disney import even_reflectance
from pipeline.shading.octahedral import texel_directions
from pipeline.shading.prefilter import PrefilteredLight, prefilter, radiance
from pipeline.shading.shade import shade
from pipeline.shading.shadowed_light import Bounce, ShadowedLight, bounce_light, shadowed_light
from pipeline.shading.texture_pyramid import TexturePyramid
from pipeline.shading.visibility import Visibility
from pipeline.stages.appearance_pixels import Pixels

START_BASE_COLOR, START_LIGHT = 0.2, 1.5  # a bright start with dim light turns everything metallic
START_METALLIC = 0.02
METALLIC_FROM = 0.6  # share of the steps after which metallic may leave its start
PARSIMONY_UNTIL = 0.62  # share of the steps after which paints may differ again, so that detail comes back
PARSIMONY_PIXELS = 1024
BOUNCE_STEPS = 50
PSNR_PIXELS = 100_000
SMOOTH_PIXELS = 4096


@dataclass(frozen=True, eq=False, kw_only=True)
class Shadows:
    """What the fit knows of the mesh that its pixels lie on.

    Attributes:
        visibility: What its vertices see.
        uvs: A texture coordinate of each vertex.
    """

    visibility: Visibility
    uvs: Float[Tensor, "vertices 2"]


class AppearanceFit:
    """Parameters, optimisers and the loss of one fit.

    Args:
        pixels: What the photos show.
        config: Steps, sizes and rates.
        texture_px: Texels along an edge of the maps.
        seed: Seed of the batches; step k always draws the same pixels.
        shadows: What the mesh hides from itself; none takes every point as in the open.
    """

    def __init__(
        self, pixels: Pixels, config: AppearanceConfig, *, texture_px: int, seed: int, shadows: Shadows | None = None
    ) -> None:
        self.pixels, self.config, self.seed, self.shadows = pixels, config, seed, shadows
        self.bounce: Bounce | None = None
        self.step, self.recent_loss = 0, 0.0
        roughness = config.start_roughness
        start = [_logit(START_BASE_COLOR)] * 3 + [_logit(roughness), _logit(START_METALLIC)]
        self.maps = TexturePyramid(texture_px, torch.tensor(start, device=pixels.uv.device))
        self.light = _start_light(config, pixels.uv.device)
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Adam(self.maps.levels, lr=config.learning_rate_maps, fused=True),
            torch.optim.Adam([self.light], lr=config.learning_rate_light, fused=True),
        ]

    @property
    def environment(self) -> Environment:
        """The current light."""
        if self.config.light == "sh":
            return Environment(coefficients=self.light, basis="sh")
        return Environment(coefficients=torch.exp(self.light), basis="octahedral")

    def advance(self) -> float:
        """Take one step; returns the photometric loss."""
        batch = self.pixels.batch(self._draw(self.config.batch_px))
        values = torch.sigmoid(self.maps(batch.uv))
        environment = self.environment
        color = self._shade(batch, values, environment)
        photometric = photometric_loss(color, batch.target)
        loss = photometric + self._material_priors(batch, values) + self._light_priors(environment)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        self._schedule()
        return float(photometric.detach())

    def _shade(
        self, batch: Pixels, values: Float[Tensor, "pixels 5"], environment: Environment
    ) -> Float[Tensor, "pixels 3"]:
        metallic = values[:, 4]
        if self.step < METALLIC_FROM * self.config.steps:
            metallic = torch.full_like(metallic, START_METALLIC)
        return shade(
            self._light(environment, batch),
            base_color=values[:, :3],
            roughness=values[:, 3],
            metallic=metallic,
            normal=batch.normal,
            wo=batch.wo,
        )

    def photo_psnr(self) -> float:
        """PSNR in dB, in sRGB, over a sample of the pixels that the fit learned from."""
        count = min(len(self.pixels), PSNR_PIXELS)
        some = self.pixels.batch(torch.linspace(0, len(self.pixels) - 1, count, device=self.pixels.uv.device).long())
        with torch.no_grad():
            color = self._shade(some, torch.sigmoid(self.maps(some.uv)), self.environment)
        return psnr(srgb_from_linear(color), srgb_from_linear(some.target))

    def _light(self, environment: Environment, batch: Pixels) -> PrefilteredLight | ShadowedLight:
        """The light at the batch; the bounce follows the slow change of material and light."""
        if self.shadows is None or batch.surface is None:
            return prefilter(environment)
        if self.bounce is None or self.step % BOUNCE_STEPS == 0:
            with torch.no_grad():
                values = torch.sigmoid(self.maps(self.shadows.uvs))
            reflectance = even_reflectance(values[:, :3], values[:, 4])
            self.bounce = bounce_light(environment, self.shadows.visibility, reflectance)
        return shadowed_light(environment, self.shadows.visibility, batch.surface, self.bounce)

    def _draw(self, count: int) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.step)
        return torch.randint(len(self.pixels), (count,), generator=generator).to(self.pixels.uv.device)

    def _material_priors(self, batch: Pixels, values: Float[Tensor, "pixels 5"]) -> Float[Tensor, ""]:
        config = self.config
        loss = config.metallic_prior * values[:, 4].mean()
        part = self.step / config.steps
        if part < PARSIMONY_UNTIL and self.step >= 10 and config.parsimony > 0:
            sigma = 0.6 + (0.25 - 0.6) * part / PARSIMONY_UNTIL
            some = values[:PARSIMONY_PIXELS]
            entropy, unlike = parsimony_loss(some[:, :3], some[:, 3:], sigma=sigma)
            loss = loss + config.parsimony * (entropy + unlike)
        uv = batch.uv[:SMOOTH_PIXELS]
        shift = torch.randn(uv.shape, generator=torch.Generator().manual_seed(self.step)).to(uv.device)
        neighbour = torch.sigmoid(self.maps(uv + shift * (1.5 / self.maps.size)))
        return loss + config.smoothness * (neighbour - values[:SMOOTH_PIXELS]).abs().mean()

    def _light_priors(self, environment: Environment) -> Float[Tensor, ""]:
        config = self.config
        if config.light == "sh":
            seen = radiance(environment, texel_directions(16).to(self.light.device))
            return config.white_light * white_light_loss(seen.clamp_min(0)) + (-seen).clamp_min(0).mean()
        size = math.isqrt(len(self.light))
        rows = self.light.reshape(size, size, 3)
        steps = (rows[1:] - rows[:-1]).abs().mean() + (rows[:, 1:] - rows[:, :-1]).abs().mean()
        return config.white_light * white_light_loss(environment.coefficients) + config.light_smoothness * steps

    def _schedule(self) -> None:
        """Lower the rates at 60 % and 85 % of the steps."""
        for part in (0.6, 0.85):
            if self.step == round(part * self.config.steps):
                for optimizer in self.optimizers:
                    for group in optimizer.param_groups:
                        group["lr"] *= 0.4

    def run(self, path: Path, progress: Callable[[float, str], None]) -> float:
        """Fit from the checkpoint at `path`, if there is one, to the last step; returns the mean of the last losses."""
        self._resume(path)
        while self.step < self.config.steps:
            loss = self.advance()
            self.recent_loss = loss if self.recent_loss == 0 else 0.95 * self.recent_loss + 0.05 * loss
            if self.step % 10 == 0:
                progress(self.step / self.config.steps, f"step {self.step}, loss {self.recent_loss:.4f}")
            if self.step % self.config.checkpoint_steps == 0:
                self._checkpoint(path)
        return self.recent_loss

    def _state(self) -> dict[str, Tensor]:
        """Every tensor that a fit consists of, by name; the entries share memory with the fit."""
        state = {f"maps.{k}": level.data for k, level in enumerate(self.maps.levels)}
        state["light"] = self.light.data
        if self.bounce is not None:
            state |= {"bounce.added": self.bounce.added, "bounce.mean": self.bounce.mean}
        for k, optimizer in enumerate(self.optimizers):
            for j, parameter in enumerate(optimizer.param_groups[0]["params"]):
                for name, value in optimizer.state[parameter].items():
                    state[f"optimizer.{k}.{j}.{name}"] = torch.as_tensor(value)
        return state

    def _checkpoint(self, path: Path) -> None:
        rates = torch.tensor([o.param_groups[0]["lr"] for o in self.optimizers], dtype=torch.float64)
        state = {k: v.contiguous() for k, v in self._state().items()}
        temporary = path.with_suffix(".tmp")
        recent = torch.tensor(self.recent_loss, dtype=torch.float64)
        save_file(state | {"step": torch.tensor(self.step), "rates": rates, "recent_loss": recent}, temporary)
        temporary.replace(path)

    def _resume(self, path: Path) -> None:
        """Continue an interrupted fit; a checkpoint that cannot be read is as good as none."""
        if not path.is_file():
            return
        try:
            saved = load_file(path)
        except (SafetensorError, OSError):
            return
        for k, level in enumerate(self.maps.levels):
            level.data.copy_(saved[f"maps.{k}"])
        self.light.data.copy_(saved["light"])
        if "bounce.added" in saved:
            device = self.light.device
            self.bounce = Bounce(added=saved["bounce.added"].to(device), mean=saved["bounce.mean"].to(device))
        self.step, self.recent_loss = int(saved["step"]), float(saved["recent_loss"])
        for k, optimizer in enumerate(self.optimizers):
            optimizer.param_groups[0]["lr"] = float(saved["rates"][k])
            for j, parameter in enumerate(optimizer.param_groups[0]["params"]):
                prefix = f"optimizer.{k}.{j}."
                state = {n.removeprefix(prefix): v.clone() for n, v in saved.items() if n.startswith(prefix)}
                optimizer.state[parameter] = state


def _logit(value: float) -> float:
    return math.log(value / (1 - value))


def _start_light(config: AppearanceConfig, device: torch.device) -> Tensor:
    """Even white light: as harmonics, or as logarithms of an octahedral map."""
    if config.light == "sh":
        light = torch.zeros((config.sh_degree + 1) ** 2, 3, device=device)
        light[0] = START_LIGHT * math.sqrt(4 * math.pi)
    else:
        light = torch.full((config.light_map_px**2, 3), math.log(START_LIGHT), device=device)
    return light.requires_grad_()
