"""Sheets of pictures: the asset above the truth."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pipeline.bench.figures import Traced, over_white, true_over_white
from pipeline.bench.seen_maps import SeenMaps
from pipeline.bench.truth import TrueMaps
from pipeline.color import srgb_from_linear
from pipeline.formats.images import write_png


def write_map_sheet(
    path: Path,
    traced: Traced | None,
    pixels: Float[Tensor, "height width 4"],
    true: TrueMaps,
    seen: SeenMaps,
) -> None:
    """View, base colour, normal (n * 0.5 + 0.5), and roughness (green) with metallic (blue): asset above truth."""
    picture = torch.ones(*true.mask.shape, 3) if traced is None else over_white(traced.mean)
    ours = torch.cat([picture, *_maps(seen, seen.mask)], 1)
    theirs = torch.cat([true_over_white(pixels), *_maps(true, true.mask)], 1)
    _write(path, torch.cat([ours, theirs]))


def _maps(maps: TrueMaps | SeenMaps, mask: Bool[Tensor, "height width"]) -> list[Float[Tensor, "height width 3"]]:
    packed = torch.stack([torch.zeros_like(maps.roughness), maps.roughness, maps.metallic], -1)
    shown = (srgb_from_linear(maps.base_color), maps.normal * 0.5 + 0.5, packed)
    return [torch.where(mask[..., None], values, 1.0) for values in shown]


def write_relit_sheet(path: Path, shown: Sequence[tuple[Traced, Traced, Float[Tensor, "height width 4"]]]) -> None:
    """A column for each light: the asset, the asset after its factors, the truth."""
    columns = [
        torch.cat([over_white(raw.mean), over_white(scaled.mean), true_over_white(pixels)])
        for raw, scaled, pixels in shown
    ]
    _write(path, torch.cat(columns, 1))


def _write(path: Path, image: Float[Tensor, "height width 3"]) -> None:
    write_png(path, (image.clamp(0, 1) * 255).round().to(torch.uint8).numpy())
