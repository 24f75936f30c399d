"""Detail of the shading normals that the mesh lacks: what the asset's normal map holds."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

from pipeline.config import AppearanceConfig
from pipeline.geometry.tangents import mikktspace_tangents
from pipeline.raster.rasterizer import Rasterizer
from pipeline.scene import Mesh
from pipeline.shading.texture_pyramid import TexturePyramid
from pipeline.stages.appearance_fill import rasterize_charts

STEEPEST = 0.6  # of each component of a bend
FROM, METAL_FROM = 0.5, 0.35  # shares of the steps after which normals bend: when it is known what is metal
METAL_PRIOR, METAL_SMOOTHNESS, METAL_RATE = 0.03, 0.3, 3.0  # of metals, as factors of the settings


class NormalDetail:
    """How far normals bend away from the mesh's, as a texture of vectors that are added to unit normals.

    The vectors lie in the world, not in tangent space: the fit then needs no tangents, and the coarse levels of the
    texture mean the same over all of a chart.

    A metal shows by nothing but reflections where its surface turns, so there normals bend sooner and more freely. On
    a dielectric, most of which scatters light, the same freedom makes relief of what is printed.

    Args:
        size: Texels along an edge.
        config: Rates and weights.
        device: Where it is fitted.
        metal: Whether the object is metal but for some places.
    """

    def __init__(self, size: int, config: AppearanceConfig, device: torch.device, *, metal: bool = False) -> None:
        self.config, self.metal = config, metal
        self.rate = config.learning_rate_normals * (METAL_RATE if metal else 1)
        self.texture = TexturePyramid(size, torch.full((3,), 0.5, device=device))

    def bends(self, values: Float[Tensor, "*points 3"]) -> Float[Tensor, "*points 3"]:
        """The vectors that values of the texture stand for."""
        return STEEPEST * (2 * values - 1)

    def bend_at(self, step: int) -> bool:
        """Whether material and light are far enough at a step of the fit to tell how normals bend."""
        return self.config.normal_map and step >= round((METAL_FROM if self.metal else FROM) * self.config.steps)

    def priors(
        self,
        bends: Float[Tensor, "points 3"],
        beside: Float[Tensor, "some 3"],
        metallic: Float[Tensor, "points"],
    ) -> Float[Tensor, ""]:
        """Weighted loss of normals that bend far, or otherwise than those a texel or two beside them."""
        far, uneven = bends.square().sum(-1), (beside - bends[: len(beside)]).abs().mean(-1)
        if self.metal:
            m = metallic.detach()
            far, uneven = far * (1 + (METAL_PRIOR - 1) * m), uneven * (1 + (METAL_SMOOTHNESS - 1) * m[: len(uneven)])
        return self.config.normal_prior * far.mean() + self.config.normal_smoothness * uneven.mean()

    def tangent_map(
        self,
        mesh: Mesh,
        normals: Float[Tensor, "vertices 3"],
        seen: Bool[Tensor, "size size"],
        rasterizer: Rasterizer,
    ) -> Float[Tensor, "size size 3"]:
        """The normal map: n * 0.5 + 0.5 in MikkTSpace's tangent space, +Y green; flat between the charts.

        Args:
            mesh: With texture coordinates.
            normals: Unit vertex normals, world frame.
            seen: Texels that photos show; the others stay flat.
            rasterizer: Draws the charts.

        Raises:
            ValueError: When the mesh has no texture coordinates.
        """
        bends = self.bends(self.texture.bake()).cpu() * seen[..., None]
        charts = rasterize_charts(mesh, len(bends), rasterizer)
        inside, tangents = charts.mask[0], mikktspace_tangents(mesh, normals)
        corners = torch.arange(3 * len(mesh.faces)).reshape(-1, 3)
        tangent = rasterizer.interpolate(tangents.flatten(0, 1), charts, corners)[0][inside]
        normal = rasterizer.interpolate(normals, charts, mesh.faces)[0][inside]
        bitangent = tangent[:, 3:].sign() * torch.linalg.cross(normal, tangent[:, :3])
        frame = torch.stack([tangent[:, :3], bitangent, normal], -1)  # as interpolated: readers do the same
        shown = bent_normals(normalize(normal, dim=-1), bends[inside])
        stored, failed = torch.linalg.solve_ex(frame, shown[..., None])
        local = normalize(stored[..., 0], dim=-1)
        usable = (failed == 0) & local.isfinite().all(-1) & (local[:, 2] > 0)
        map_ = torch.tensor([0.5, 0.5, 1.0]).repeat(len(bends), len(bends), 1)
        map_[inside] = torch.where(usable[:, None], local * 0.5 + 0.5, map_[0, 0])
        return map_


def bent_normals(normal: Float[Tensor, "points 3"], bends: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
    """Unit normals that bend away from given ones."""
    return normalize(normal + bends, dim=-1)
