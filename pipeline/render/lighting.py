"""The light that an asset is rendered under."""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.errors import UsageError
from pipeline.formats.light_maps import read_light
from pipeline.render.limits import check_range
from pipeline.scene import Environment
from pipeline.shading.light_maps import octahedral_light, turned_about_up

LIGHT_SIZE = 256  # texels a side; the sharpest mirror that the shading knows shows about as much
BESIDE = "light.hdr"


@dataclass(frozen=True, kw_only=True)
class LightChoice:
    """Which light, how strong, and turned how far.

    Attributes:
        path: A light map, or none for that beside the asset, or an even white one where there is none.
        strength: Factor on its radiance.
        rotation_deg: Turn about +Y, counter-clockwise seen from above.

    Raises:
        UsageError: When a value is outside its range or the map does not exist.
    """

    path: Path | None = None
    strength: float = 1.0
    rotation_deg: float = 0.0

    def __post_init__(self) -> None:
        """Refuse impossible numbers and missing files."""
        check_range("--light-strength", self.strength, 0, 1e6)
        check_range("--light-rotation", self.rotation_deg, -1e6, 1e6)
        if self.path is not None and not self.path.exists():
            raise UsageError("does not exist", path=self.path, remedy="name a .hdr or .exr map with --light")

    def load(self, asset: Path) -> "Light":
        """The light for the asset in this file.

        Raises:
            InputError: When the map cannot be used.
        """
        beside = asset.with_name(BESIDE)
        path = self.path or (beside if beside.is_file() else None)
        light = torch.ones(32, 64, 3) if path is None else read_light(path)
        light = turned_about_up(light, self.rotation_deg) * self.strength
        told = "even white" if path is None else str(path)
        if path is None:
            told += f" (there is no {BESIDE} beside the asset)"
        return Light(map=light, environment=octahedral_light(light, LIGHT_SIZE), told=told)


@dataclass(frozen=True, eq=False, kw_only=True)
class Light:
    """A light as rendering needs it.

    Attributes:
        map: Linear radiance by longitude and latitude, for the background.
        environment: The same for shading.
        told: Where it comes from, for the user.
    """

    map: Float[Tensor, "height width 3"]
    environment: Environment
    told: str
