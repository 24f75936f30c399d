"""Prefiltered light as it reaches the points of a mesh that shadows and lights itself."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.scene import Environment
from pipeline.shading.fused import fused_visible_share
from pipeline.shading.prefilter import PrefilteredLight, prefilter
from pipeline.shading.visibility import LOBES, SurfacePoints, Visibility


@dataclass(frozen=True, eq=False, kw_only=True)
class Bounce:
    """One bounce of light between parts of a mesh.

    Attributes:
        added: Irradiance / pi that it adds at each vertex.
        mean: Mean radiance of what hides the light from each vertex.
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
    """

    open_light: PrefilteredLight
    visibility: Visibility
    points: SurfacePoints
    irradiance: Float[Tensor, "points 3"]
    blocked: Float[Tensor, "points 3"]

    def diffuse(self, normal: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
        """Irradiance / pi; the transfer table already knows the normals."""
        return self.irradiance

    def specular(
        self, direction: Float[Tensor, "points 3"], roughness: Float[Tensor, "points"]
    ) -> Float[Tensor, "points 3"]:
        """Blurred light around mirrored directions, and the mesh's own radiance where it hides the light."""
        share = self.visibility.specular_share(self.points, direction, roughness.detach())[:, None]
        return share * self.open_light.specular(direction, roughness) + (1 - share) * self.blocked

    def at_mirrored(
        self, normal: Float[Tensor, "points 3"], wo: Float[Tensor, "points 3"], roughness: Float[Tensor, "points"]
    ) -> tuple[Float[Tensor, "points"], Float[Tensor, "points 3"], Float[Tensor, "points 3"]]:
        """Visible share of the specular lobe, irradiance / pi, and mean radiance of what hides the light."""
        at = (self.points.corners, self.points.weights)
        share = fused_visible_share(self.visibility.specular, LOBES, at, (normal, wo, roughness))
        return share, self.irradiance, self.blocked


def shadowed_light(
    environment: Environment, visibility: Visibility, points: SurfacePoints, bounce: Bounce
) -> ShadowedLight:
    """The light at surface points; differentiable with respect to the environment's coefficients."""
    irradiance = points.blend(visibility.diffuse_light(environment) + bounce.added)
    return ShadowedLight(
        open_light=prefilter(environment),
        visibility=visibility,
        points=points,
        irradiance=irradiance,
        blocked=points.blend(bounce.mean),
    )


def bounce_light(environment: Environment, visibility: Visibility, reflectance: Float[Tensor, "vertices 3"]) -> Bounce:
    """One diffuse bounce.

    Args:
        environment: The light.
        visibility: The mesh's transfer table.
        reflectance: Diffuse albedo at the vertices.
    """
    with torch.no_grad():
        added, mean = visibility.gather(reflectance * visibility.diffuse_light(environment))
    return Bounce(added=added, mean=mean)
