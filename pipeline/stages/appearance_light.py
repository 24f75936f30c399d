"""One light of the appearance fit: its parameters, its priors, and what it throws from the object onto itself."""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.config import AppearanceConfig
from pipeline.geometry.normals import shading_normals
from pipeline.losses import white_light_loss
from pipeline.scene import Environment, Mesh
from pipeline.shading.disney import even_reflectance
from pipeline.shading.light_maps import sh_from_octahedral
from pipeline.shading.octahedral import mean_step, texel_directions
from pipeline.shading.prefilter import PrefilteredLight, prefilter, radiance
from pipeline.shading.render import vertex_uvs
from pipeline.shading.shadowed_light import Bounce, ShadowedLight, bent_light, bounce_light, shadowed_light
from pipeline.shading.texture_pyramid import TexturePyramid
from pipeline.shading.turn import Turn, spread_turns
from pipeline.shading.visibility import Visibility, trace_visibility
from pipeline.stages.appearance_pixels import Pixels

DARKEST = 1e-3  # radiance where a blurred light would be negative
START_BESIDE_FLASH = 0.15  # of distant light, where a lamp at the camera outshines it


@dataclass(frozen=True, eq=False, kw_only=True)
class Shadows:
    """What the fit knows of the mesh that its pixels lie on.

    Attributes:
        visibility: What its vertices see.
        uvs: A texture coordinate of each vertex.
        vertices: Their positions in the world.
    """

    visibility: Visibility
    uvs: Float[Tensor, "vertices 2"]
    vertices: Float[Tensor, "vertices 3"]


def shadows_of(mesh: Mesh) -> Shadows:
    """Trace what the vertices of an unwrapped mesh see."""
    visibility = trace_visibility(mesh.vertices, mesh.faces, shading_normals(mesh))
    return Shadows(visibility=visibility, uvs=vertex_uvs(mesh), vertices=mesh.vertices)


class FittedLight:
    """Even white light at the start: as harmonics, or as logarithms of an octahedral map.

    Attributes:
        parameter: What is fitted.
        flash: Logarithm of what the lamp at the camera makes of a white surface that faces it from the distance
            `reach`; none without such a lamp.
        light_from_world: How the object stood in it in each photo; none when it stood still.
        bounce: What the object throws onto itself; none before it was needed.
    """

    def __init__(self, config: AppearanceConfig, pixels: Pixels) -> None:
        """Start neutral, for the pixels that were photographed under the light."""
        self.config, self.light_from_world, device = config, pixels.light_from_world, pixels.uv.device
        self.flash, self.reach = None, 1.0
        start = config.start_light
        if config.flash and pixels.distance is not None:
            self.reach = float(pixels.distance.square().mean().sqrt())
            self.flash = torch.full((3,), math.log(config.start_light), device=device).requires_grad_()
            start = START_BESIDE_FLASH
        self.bounce: Bounce | None = None
        if config.light == "sh":
            light = torch.zeros((config.sh_degree + 1) ** 2, 3, device=device)
            light[0] = start * math.sqrt(4 * math.pi)
        else:
            light = torch.full((config.light_map_px**2, 3), math.log(start), device=device)
        self.parameter = light.requires_grad_()

    @property
    def parameters(self) -> dict[str, Tensor]:
        """All that is fitted, by name."""
        return {"parameter": self.parameter} | ({} if self.flash is None else {"flash": self.flash})

    @property
    def environment(self) -> Environment:
        """The current light."""
        if self.config.light == "sh":
            return Environment(coefficients=self.parameter, basis="sh")
        return Environment(coefficients=torch.exp(self.parameter), basis="octahedral")

    def on(
        self,
        batch: Pixels,
        shadows: Shadows | None,
        maps: TexturePyramid,
        *,
        normal: Float[Tensor, "pixels 3"],
        renew: bool,
    ) -> PrefilteredLight | ShadowedLight:
        """The light at the batch, as it falls on normals that may bend away from the batch's own.

        With `renew` the bounce follows the slow change of material and light.
        """
        environment, turn = self.environment, self._turn(batch)
        if shadows is None or batch.surface is None:
            return replace(prefilter(environment, turn), flash=self._flash_at(batch))
        if self.bounce is None or renew:
            with torch.no_grad():
                values = maps(shadows.uvs)
            reflectance = even_reflectance(values[:, :3], values[:, 4])
            turns = None if self.light_from_world is None else spread_turns(self.light_from_world)[0]
            self.bounce = bounce_light(environment, shadows.visibility, reflectance, turns)
        light = shadowed_light(environment, shadows.visibility, batch.surface, self.bounce, turn)
        if normal is not batch.normal:
            light = replace(bent_light(light, batch.normal, normal), surface_normal=batch.normal)
        return replace(light, open_light=replace(light.open_light, flash=self._flash_at(batch)))

    def _flash_at(self, batch: Pixels) -> Float[Tensor, "pixels 3"] | None:
        """What the lamp at the camera makes of white surfaces: by the inverse square of the distance."""
        if self.flash is None or batch.distance is None:
            return None
        return torch.exp(self.flash) * (self.reach / batch.distance).square()[:, None]

    def _turn(self, batch: Pixels) -> Turn | None:
        if self.light_from_world is None or batch.view is None:
            return None
        views, of_point = batch.view.unique(return_inverse=True)
        bounce = spread_turns(self.light_from_world)[1][views.long()]
        return Turn(light_from_world=self.light_from_world[views.long()], of_point=of_point, bounce=bounce)

    def priors(self) -> Float[Tensor, ""]:
        """Weighted loss of a light that has a cast, is rough or negative."""
        loss = self._priors_of_distant()
        if self.flash is not None:
            loss = loss + self.config.white_light * white_light_loss(torch.exp(self.flash)[None])
        return loss

    def _priors_of_distant(self) -> Float[Tensor, ""]:
        config, environment = self.config, self.environment
        if config.light == "sh":
            seen = radiance(environment, texel_directions(16).to(self.parameter.device))
            return config.white_light * white_light_loss(seen.clamp_min(0)) + (-seen).clamp_min(0).mean()
        size = math.isqrt(len(self.parameter))
        steps = mean_step(self.parameter.reshape(size, size, 3))
        return config.white_light * white_light_loss(environment.coefficients) + config.light_smoothness * steps

    @torch.no_grad()
    def take_over(self, other: "FittedLight") -> None:
        """Go on from what another fit learned of this light, at another size or in another basis."""
        if self.flash is not None and other.flash is not None:
            self.flash.copy_(other.flash)
        if self.config.light != "sh":
            self._show(other.environment)
        elif other.config.light != "sh":
            self.parameter.copy_(other._harmonics(self.config.sh_degree).coefficients)
        else:
            self.parameter.copy_(other.parameter)

    @torch.no_grad()
    def dim(self, times: float) -> None:
        """Make it so many times darker."""
        for name, parameter in self.parameters.items():
            if self.config.light == "sh" and name == "parameter":
                parameter /= times
            else:
                parameter -= math.log(times)

    @torch.no_grad()
    def blur(self, degree: int) -> None:
        """Keep of an octahedral light what harmonics up to a degree hold."""
        self._show(self._harmonics(degree))

    def _harmonics(self, degree: int) -> Environment:
        """An octahedral light as harmonics up to a degree, on the CPU."""
        environment = self.environment
        return sh_from_octahedral(replace(environment, coefficients=environment.coefficients.cpu()), degree)

    def _show(self, environment: Environment) -> None:
        """Fill the octahedral map with another light."""
        directions = texel_directions(math.isqrt(len(self.parameter))).to(environment.coefficients.device)
        self.parameter.copy_(torch.log(radiance(environment, directions).clamp_min(DARKEST)))

    def state(self) -> dict[str, Tensor]:
        """Its tensors by name; the entries share memory with it."""
        state = {name: parameter.data for name, parameter in self.parameters.items()}
        if self.bounce is not None:
            state |= {"bounce.added": self.bounce.added, "bounce.mean": self.bounce.mean}
        return state

    def restore(self, saved: dict[str, Tensor]) -> None:
        """Take over what `state` told."""
        for name, parameter in self.parameters.items():
            parameter.data.copy_(saved[name])
        if "bounce.added" in saved:
            device = self.parameter.device
            self.bounce = Bounce(added=saved["bounce.added"].to(device), mean=saved["bounce.mean"].to(device))
