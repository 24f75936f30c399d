"""Prefiltered light as it reaches the points of a mesh that shadows and lights itself."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.scene import Environment
from pipeline.shading.disney import dominant_direction
from pipeline.shading.fused import fused_visible_share
from pipeline.shading.gather import transfer
from pipeline.shading.prefilter import PrefilteredLight, prefilter
from pipeline.shading.turn import Turn
from pipeline.shading.visibility import LOBES, SurfacePoints, Visibility, coarse_light, coarse_lights

BRIGHTEST_BEND = 4.0  # a normal map brightens diffuse light at most this many times: irradiance may come near zero
BOUNCES = 3  # a fourth adds less than 1 % inside a white cup


@dataclass(frozen=True, eq=False, kw_only=True)
class Bounce:
    """Light that parts of a mesh send to each other.

    Attributes:
        added: Irradiance / pi that it adds at each vertex; of several turns under the light, one after the other.
        mean: Mean radiance of what hides the light from each vertex, likewise.
    """

    added: Float[Tensor, "vertices 3"]
    mean: Float[Tensor, "vertices 3"]


@dataclass(frozen=True, eq=False, kw_only=True)
class ShadowedLight:
    """The light at given points of a mesh; answers like `PrefilteredLight`.

    Attributes:
        open_light: The light without the mesh.
        visibility: The mesh's transfer table.
        points: Where the light is asked for.
        irradiance: Shadowed irradiance / pi with one bounce, at the points.
        blocked: Mean radiance of what hides the light, at the points.
        surface_normal: Unit normals of the surface where shading normals bend away from it (a normal map), else none.
    """

    open_light: PrefilteredLight
    visibility: Visibility
    points: SurfacePoints
    irradiance: Float[Tensor, "points 3"]
    blocked: Float[Tensor, "points 3"]
    surface_normal: Float[Tensor, "points 3"] | None = None

    def diffuse(self, normal: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
        """Irradiance / pi; the transfer table already knows the normals."""
        return self.irradiance

    def specular(
        self, direction: Float[Tensor, "points 3"], roughness: Float[Tensor, "points"]
    ) -> Float[Tensor, "points 3"]:
        """Blurred light around mirrored directions, and the mesh's own radiance where it hides the light."""
        share = self.visibility.specular_share(self.points, direction, roughness.detach()) * self._above(direction)
        share = share[:, None]
        return share * self.open_light.specular(direction, roughness) + (1 - share) * self.blocked

    def at_mirrored(
        self, normal: Float[Tensor, "points 3"], wo: Float[Tensor, "points 3"], roughness: Float[Tensor, "points"]
    ) -> tuple[Float[Tensor, "points"], Float[Tensor, "points 3"], Float[Tensor, "points 3"]]:
        """Visible share of the specular lobe, irradiance / pi, and mean radiance of what hides the light."""
        at = (self.points.corners, self.points.weights)
        share = fused_visible_share(self.visibility.specular, LOBES, at, (normal, wo, roughness))
        if self.surface_normal is not None:
            share = share * self._above(dominant_direction(normal, wo, roughness))
        return share, self.irradiance, self.blocked

    def _above(self, direction: Float[Tensor, "points 3"]) -> Float[Tensor, "points"] | float:
        """How much of a lobe lies above the surface; a bent normal may mirror what the surface itself hides.

        Filament's horizon term (Guy and Agopian 2018, "Physically Based Rendering in Filament", section 5.9.4).
        """
        if self.surface_normal is None:
            return 1.0
        with torch.no_grad():
            return (1 + (direction * self.surface_normal).sum(-1)).clamp(0, 1).square()


def bent_light(
    light: ShadowedLight, surface: Float[Tensor, "points 3"], shown: Float[Tensor, "points 3"]
) -> ShadowedLight:
    """The light at the points, its diffuse part as shading normals that bend away from the surface see it.

    The transfer table knows the vertex normals only: shadowed light changes as open light does between the two. By
    how much is constant for gradients: a fit that bent normals for it would make a relief of what is printed on them.
    """
    with torch.no_grad():
        before, after = (light.open_light.diffuse(n).clamp_min(1e-6) for n in (surface, shown))
        brighter = (after / before).clamp_max(BRIGHTEST_BEND)
    return replace(light, irradiance=light.irradiance * brighter)


def shadowed_light(
    environment: Environment, visibility: Visibility, points: SurfacePoints, bounce: Bounce, turn: Turn | None = None
) -> ShadowedLight:
    """The light at surface points, turned under it or not; differentiable with respect to its coefficients."""
    if turn is not None:
        return _turned_light(environment, visibility, points, bounce, turn)
    irradiance = points.blend(visibility.diffuse_light(environment) + bounce.added)
    return ShadowedLight(
        open_light=prefilter(environment),
        visibility=visibility,
        points=points,
        irradiance=irradiance,
        blocked=points.blend(bounce.mean),
    )


def _turned_light(
    environment: Environment, visibility: Visibility, points: SurfacePoints, bounce: Bounce, turn: Turn
) -> ShadowedLight:
    first = len(visibility.diffuse) * turn.bounce[turn.of_point]
    of_turn = SurfacePoints(corners=points.corners + first[:, None].to(points.corners), weights=points.weights)
    return ShadowedLight(
        open_light=prefilter(environment, turn),
        visibility=visibility,
        points=points,
        irradiance=visibility.turned_diffuse_light(environment, points, turn) + of_turn.blend(bounce.added),
        blocked=of_turn.blend(bounce.mean),
    )


def bounce_light(
    environment: Environment,
    visibility: Visibility,
    reflectance: Float[Tensor, "vertices 3"],
    light_from_world: Float[Tensor, "turns 3 3"] | None = None,
) -> Bounce:
    """Light between the parts of a mesh: the first bounces, each scattered evenly whatever the surface is.

    Args:
        environment: The light.
        visibility: The mesh's transfer table.
        reflectance: Share of even light that each vertex sends back (`even_reflectance`): a metal's mirror image of its
            surroundings counts, too, or hollow metal would be black inside.
        light_from_world: Turns of the mesh under the light; none when it lies in it as in the world.
    """
    found = []
    with torch.no_grad():
        lights = coarse_light(environment)[None]
        if light_from_world is not None:
            lights = coarse_lights(environment, light_from_world)
        for light in lights:
            direct = transfer(visibility.diffuse, light)
            added, mean = visibility.gather(reflectance * direct)
            for _ in range(BOUNCES - 1):
                added, mean = visibility.gather(reflectance * (direct + added))
            found.append((added, mean))
    added, mean = (torch.cat(turns) for turns in zip(*found, strict=True))
    return Bounce(added=added, mean=mean)
