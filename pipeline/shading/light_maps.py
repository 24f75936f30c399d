"""Light maps (longitude and latitude, row 0 up) from and to the bases that shading works with."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.frames import direction_from_equirect_uv, equirect_uv_from_direction
from pipeline.scene import Environment
from pipeline.shading import spherical_harmonics as sh
from pipeline.shading.octahedral import texel_directions, texel_solid_angles
from pipeline.shading.prefilter import radiance

_LINES_PER_TEXEL = 32
_LINES_AT_ONCE = 256


def octahedral_light(light: Float[Tensor, "height width 3"], size: int) -> Environment:
    """A light map as a light of `size`^2 octahedral texels: each gets the mean radiance over its solid angle.

    Energy is kept wherever it lies (a sun of one pixel to 0.5 % at 256^2 texels), and constant light stays constant.

    Args:
        light: Linear radiance, twice as wide as high.
        size: A power of two of at least 16.
    """
    if light.shape[0] % 2:
        light = light.repeat_interleave(2, 0).repeat_interleave(2, 1)  # the same map, with a row edge on the horizon
    height, width = light.shape[:2]
    pixels = light.reshape(-1, 3)
    total = torch.zeros(size * size, 4, dtype=torch.float64)
    for arcs in _arcs(height, size):
        for signs in itertools.product((1, -1), repeat=3):
            pixel, texel = _mirrored(arcs, signs, (height, width, size))
            share = torch.cat([arcs.solid_angle * pixels[pixel], arcs.solid_angle], -1)
            total.index_add_(0, texel, share)
    return Environment(coefficients=(total[:, :3] / total[:, 3:]).float(), basis="octahedral")


@dataclass(frozen=True, eq=False, kw_only=True)
class _Arcs:
    """Arcs of circles of latitude in the octant of positive x, y, z, each within one pixel and one texel.

    Attributes:
        row: Row of the light map, from the zenith.
        column: Column of the light map, counted from +x towards +z.
        texel_x: Column of the octahedral map, counted from its middle.
        texel_z: Row of the octahedral map, counted from its middle.
        solid_angle: Of the strip that the arc stands for, in steradian.
    """

    row: Int[Tensor, "arcs"]
    column: Int[Tensor, "arcs"]
    texel_x: Int[Tensor, "arcs"]
    texel_z: Int[Tensor, "arcs"]
    solid_angle: Float[Tensor, "arcs 1"]


def _arcs(height: int, size: int) -> Iterator[_Arcs]:
    """Cut the circles of latitude of an octant where they leave a pixel or a texel.

    Texel edges are great circles and meet a circle of latitude at angles in closed form; only the sum over the
    circles is a quadrature.
    """
    half, lines = size // 2, math.ceil(_LINES_PER_TEXEL * size / height)
    edge = torch.linspace(0, math.pi / 2, height // 2 * lines + 1, dtype=torch.float64)
    rows = torch.arange(height // 2).repeat_interleave(lines)
    theta = 0.5 * (edge[1:] + edge[:-1])
    band = edge[:-1].cos() - edge[1:].cos()
    # x / (x + y + z) = a along the circle of tan(theta) = t: (1 - a) cos(phi) - a sin(phi) = a / t
    a = torch.arange(1, half, dtype=torch.float64) / half
    radius, tilt = torch.hypot(1 - a, a), torch.atan2(a, 1 - a)
    columns = torch.linspace(0, math.pi / 2, height // 2 + 1, dtype=torch.float64)
    for part in range(0, len(rows), _LINES_AT_ONCE):
        row, tan = (v[part : part + _LINES_AT_ONCE, None] for v in (rows, theta.tan()))
        cuts = ((a / (radius * tan)).clamp(max=1).acos() - tilt).clamp(0, math.pi / 2)
        ends = torch.cat([cuts, math.pi / 2 - cuts, columns.expand(len(cuts), -1)], 1).sort(1).values
        phi, length = 0.5 * (ends[:, 1:] + ends[:, :-1]), ends[:, 1:] - ends[:, :-1]
        seen = length > 1e-12
        cos, sin = phi.cos(), phi.sin()
        whole = cos + sin + 1 / tan
        yield _Arcs(
            row=row.expand_as(phi)[seen],
            column=(phi * (height / math.pi)).long()[seen],
            texel_x=(half * cos / whole).long()[seen],
            texel_z=(half * sin / whole).long()[seen],
            solid_angle=(length * band[part : part + _LINES_AT_ONCE, None])[seen][:, None],
        )


def _mirrored(
    arcs: _Arcs, signs: tuple[int, ...], sizes: tuple[int, int, int]
) -> tuple[Int[Tensor, "arcs"], Int[Tensor, "arcs"]]:
    """Pixel and texel of the arcs in the octant of the given signs of x, y, z."""
    (x, y, z), (height, width, size) = signs, sizes
    half = size // 2
    azimuth = arcs.column if x > 0 else width // 2 - 1 - arcs.column  # from +x towards +z or -z
    column = width // 2 + azimuth if z > 0 else width // 2 - 1 - azimuth
    row = arcs.row if y > 0 else height - 1 - arcs.row
    # below the horizon the map is folded outwards over its diagonal
    i, j = (arcs.texel_x, arcs.texel_z) if y > 0 else (half - 1 - arcs.texel_z, half - 1 - arcs.texel_x)
    texel_column = half + i if x > 0 else half - 1 - i
    texel_row = half + j if z > 0 else half - 1 - j
    return row * width + column, texel_row * size + texel_column


def equirect(environment: Environment, height: int) -> Float[Tensor, "height width 3"]:
    """The light as a map in the world frame, its radiance at the pixels' centres; negative lobes are cut."""
    directions = equirect_directions(height)
    return radiance(environment, directions.reshape(-1, 3)).clamp_min(0).reshape(height, 2 * height, 3)


def equirect_directions(height: int) -> Float[Tensor, "height width 3"]:
    """Unit world directions of the centres of a map's pixels."""
    rows, columns = torch.arange(height) + 0.5, torch.arange(2 * height) + 0.5
    v, u = torch.meshgrid(rows / height, columns / (2 * height), indexing="ij")
    return direction_from_equirect_uv(torch.stack([u, v], -1))


def equirect_solid_angles(height: int) -> Float[Tensor, "height"]:
    """Solid angle in steradian of a pixel of each row of a map."""
    edge = torch.linspace(0, math.pi, height + 1, dtype=torch.float64).cos()
    return ((edge[:-1] - edge[1:]) * math.pi / height).float()


def turned_about_up(light: Float[Tensor, "height width 3"], angle_deg: float) -> Float[Tensor, "height width 3"]:
    """A light map turned about +Y, counter-clockwise seen from above: 90 degrees take the light in front (+Z) to +X.

    Fractions of a pixel blend two neighbours, so every row keeps its energy.
    """
    width = light.shape[1]
    shift = angle_deg / 360 * width
    whole = math.floor(shift)
    near, far = light.roll(-whole, 1), light.roll(-whole - 1, 1)
    return near if shift == whole else torch.lerp(near, far, shift - whole)


def map_radiance(
    light: Float[Tensor, "height width 3"], direction: Float[Tensor, "points 3"]
) -> Float[Tensor, "points 3"]:
    """Radiance of a light map from world directions, bilinear, across its seam too."""
    height, width = light.shape[:2]
    at = equirect_uv_from_direction(direction) * direction.new_tensor([width, height]) - 0.5
    base = at.floor()
    fraction = at - base
    left, top = base.long().unbind(-1)
    result = torch.zeros_like(direction)
    for dx, dy in itertools.product((0, 1), repeat=2):
        weight = (fraction - (1 - fraction.new_tensor([dx, dy]))).abs().prod(-1, keepdim=True)
        result += weight * light[(top + dy).clamp(0, height - 1), (left + dx) % width]
    return result


def sh_from_equirect(light: Float[Tensor, "height width 3"], degree: int) -> Environment:
    """The spherical harmonics of a light map, bands 0..`degree`."""
    height = light.shape[0]
    return _fitted(
        light.reshape(-1, 3),
        equirect_directions(height).reshape(-1, 3),
        equirect_solid_angles(height).repeat_interleave(2 * height),
        degree,
    )


def sh_from_octahedral(environment: Environment, degree: int) -> Environment:
    """The spherical harmonics of an octahedral light, bands 0..`degree`."""
    size = math.isqrt(len(environment.coefficients))
    return _fitted(environment.coefficients, texel_directions(size), texel_solid_angles(size), degree)


def _fitted(
    values: Float[Tensor, "samples 3"],
    direction: Float[Tensor, "samples 3"],
    solid_angle: Float[Tensor, "samples"],
    degree: int,
) -> Environment:
    """Least squares weighted by solid angle: the quadrature, corrected so that light of these bands comes back."""
    count = (degree + 1) ** 2
    gram, moments = torch.zeros(count, count, dtype=torch.float64), torch.zeros(count, 3, dtype=torch.float64)
    for start in range(0, len(values), 2**16):
        part = slice(start, start + 2**16)
        basis = sh.sh_basis(direction[part].double(), degree)
        weighted = basis * solid_angle[part, None].double()
        gram += basis.mT @ weighted
        moments += weighted.mT @ values[part].double()
    return Environment(coefficients=torch.linalg.solve(gram, moments).float(), basis="sh")
