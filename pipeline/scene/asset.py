"""The thing that the user came for."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from pipeline.scene.environment import Environment
from pipeline.scene.material import Material
from pipeline.scene.mesh import Mesh


@dataclass(frozen=True, eq=False, kw_only=True)
class Asset:
    """A textured mesh and the light it was fitted under.

    Attributes:
        mesh: Geometry with texture coordinates.
        material: Texture maps; none while the asset is blank.
        environment: The fitted light; none while the asset is blank.
        cam_from_world: Poses of the capture's views as the fit refined them, in their order; none when they stayed.
        exposure: Gains of the views, in their order, with which the light explains them; none where all are 1.
        provenance: Figures of the fit, by name.
    """

    mesh: Mesh
    material: Material | None = None
    environment: Environment | None = None
    cam_from_world: Float[Tensor, "views 4 4"] | None = None
    exposure: Float[Tensor, "views 3"] | None = None
    provenance: Mapping[str, float] = field(default_factory=dict)
