"""Textured materials of glTF's metallic-roughness model."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class Material:
    """Texture maps, row 0 on top, linear values in [0, 1].

    Attributes:
        base_color: Linear RGB.
        orm: Occlusion, roughness and metallic in red, green and blue.
        normal: Tangent-space normals as n * 0.5 + 0.5 with +Y green, or none.
        confidence: How well the photos determined each texel, or none.
        wrap: Whether the maps repeat beyond texture coordinates of [0, 1]; else their border is continued.
        double_sided: Whether the surface is meant to be seen from behind, too.
    """

    base_color: Float[Tensor, "height width 3"]
    orm: Float[Tensor, "height width 3"]
    normal: Float[Tensor, "height width 3"] | None = None
    confidence: Float[Tensor, "height width"] | None = None
    wrap: bool = False
    double_sided: bool = False
