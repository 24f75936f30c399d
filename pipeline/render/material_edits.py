"""Changes to an asset's material before it is rendered."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.color import linear_from_srgb
from pipeline.errors import InputError, UsageError
from pipeline.formats.images import read_texture
from pipeline.formats.resample import resize
from pipeline.render.limits import check_range
from pipeline.scene import Material


@dataclass(frozen=True, kw_only=True)
class MaterialEdits:
    """What to change.

    Attributes:
        swaps: Pictures that replace maps, by the map's name: base colour in sRGB, the others as they are stored.
        tint: Linear RGB that multiplies the base colour.
        roughness: Roughness of the whole surface in [0, 1], or none to keep the map.

    Raises:
        UsageError: When a value is outside its range or a picture does not exist.
    """

    swaps: Mapping[str, Path] = field(default_factory=dict)
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    roughness: float | None = None

    def __post_init__(self) -> None:
        """Refuse impossible numbers and missing files."""
        for value in self.tint:
            check_range("--tint", value, 0, 100)
        if self.roughness is not None:
            check_range("--roughness", self.roughness, 0, 1)
        for name, path in self.swaps.items():
            if not path.exists():
                raise UsageError("does not exist", path=path, remedy=f"name a picture with --swap {name}=FILE")

    def applied(self, material: Material) -> Material:
        """The material with the changes; all maps get the size of the largest.

        Raises:
            InputError: When a picture cannot be read or has another shape than the maps.
        """
        maps = {"base_color": material.base_color, "orm": material.orm}
        if material.normal is not None:
            maps["normal"] = material.normal
        shape = material.base_color.shape[:2]
        for name, path in self.swaps.items():
            values = torch.tensor(read_texture(path)) / 255
            _check_shape(values.shape[:2], shape, path)
            maps[name] = linear_from_srgb(values) if name == "base_color" else values
        height, width = (max(values.shape[axis] for values in maps.values()) for axis in (0, 1))
        maps = {name: _sized(values, width, height) for name, values in maps.items()}
        if self.roughness is not None:
            maps["orm"] = maps["orm"].clone()
            maps["orm"][..., 1] = self.roughness
        return dataclasses.replace(
            material,
            base_color=(maps["base_color"] * torch.tensor(self.tint)).clamp(0, 1),
            orm=maps["orm"],
            normal=maps.get("normal"),
            confidence=None,
        )


def _check_shape(new: torch.Size, old: torch.Size, path: Path) -> None:
    if old != (1, 1) and abs(new[0] * old[1] / (new[1] * old[0]) - 1) > 0.01:
        raise InputError(
            f"{new[1]} x {new[0]} pixels have another shape than the asset's maps of {old[1]} x {old[0]}",
            path=path,
            remedy="the picture is laid out by the asset's texture coordinates",
        )


def _sized(values: Float[Tensor, "height width 3"], width: int, height: int) -> Float[Tensor, "rows columns 3"]:
    if tuple(values.shape[:2]) == (height, width):
        return values
    return torch.from_numpy(resize(values.contiguous().numpy(), width, height))
