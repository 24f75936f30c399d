"""Light prefiltered for every roughness: one constant linear map from coefficients to small octahedral maps.

Split sum (Karis 2013): what a surface of a given roughness mirrors from direction r is the light convolved
with the GGX lobe around r. A light that is linear in its coefficients needs one matrix per roughness level;
a pixel then costs one trilinear and one bilinear look-up whatever the basis.
"""

import functools
import warnings
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.scene import Environment
from pipeline.shading import spherical_harmonics as sh
from pipeline.shading.disney import reflected_lobe
from pipeline.shading.gather import weighted_rows
from pipeline.shading.octahedral import bilinear_corners, texel_directions, texel_solid_angles
from pipeline.shading.turn import Turn

DIFFUSE_SIZE = 32
DIFFUSE_SOURCE_SIZE = 32
SH_LEVELS: tuple[tuple[float, int], ...] = (
    (0.05, 32),
    (0.2, 32),
    (0.35, 32),
    (0.5, 32),
    (0.65, 16),
    (0.82, 16),
    (1.0, 16),
)
# (roughness, size): the rougher, the smoother. No level is larger than the light's own map; the first is that map.
MAP_LEVELS: tuple[tuple[float, int], ...] = (
    (0.09, 256),
    (0.16, 64),
    (0.26, 64),
    (0.4, 32),
    (0.58, 32),
    (0.78, 16),
    (1.0, 16),
)


@dataclass(frozen=True, eq=False, kw_only=True)
class PrefilteredLight:
    """Octahedral maps of one light, one below the other in a table.

    Attributes:
        table: Radiance per texel of every specular level, then irradiance / pi of the diffuse map.
        levels: (roughness, size, first row) of the specular levels, roughness rising.
        diffuse_row: First row of the diffuse map, of size `DIFFUSE_SIZE`.
        turn: How the world stands in the light at the points for which it is asked; none when as in its maps.
        flash: What a lamp at the camera adds there: irradiance / pi of surfaces that face it; none without one.
    """

    table: Float[Tensor, "rows 3"]
    levels: tuple[tuple[float, int, int], ...]
    diffuse_row: int
    turn: Turn | None = None
    flash: Float[Tensor, "points 3"] | None = None

    def in_light(self, direction: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
        """World directions in the frame of the maps."""
        return direction if self.turn is None else self.turn.in_light(direction)

    def diffuse(self, normal: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
        """Irradiance / pi: what a white Lambertian surface with this normal radiates."""
        index, weights = bilinear_corners(self.in_light(normal), DIFFUSE_SIZE)
        return weighted_rows(self.table, index + self.diffuse_row, weights)

    def specular(
        self, direction: Float[Tensor, "points 3"], roughness: Float[Tensor, "points"]
    ) -> Float[Tensor, "points 3"]:
        """Light around the mirrored view direction, blurred for `roughness` (differentiable)."""
        knots = torch.tensor([level[0] for level in self.levels], device=direction.device)
        rough = roughness.clamp(float(knots[0]), float(knots[-1]))
        below = (torch.searchsorted(knots, rough.detach(), right=True) - 1).clamp(0, len(knots) - 2)
        blend = (rough - knots[below]) / (knots[below + 1] - knots[below])
        direction = self.in_light(direction)
        corners = {size: bilinear_corners(direction, size) for size in {level[1] for level in self.levels}}
        index = torch.stack([corners[size][0] + row for _, size, row in self.levels], 1)
        weight = torch.stack([corners[size][1] for _, size, _ in self.levels], 1)
        pair = torch.stack([below, below + 1], 1)[..., None].expand(-1, -1, 4)
        share = torch.stack([1 - blend, blend], 1)[..., None]
        weights = torch.gather(weight, 1, pair) * share
        return weighted_rows(self.table, torch.gather(index, 1, pair).flatten(1), weights.flatten(1))


def prefilter(environment: Environment, turn: Turn | None = None) -> PrefilteredLight:
    """Prefilter a light, for points that turned under it or not; differentiable with respect to its coefficients."""
    coefficients = environment.coefficients
    device = coefficients.device
    if environment.basis == "sh":
        degree = sh.degree_of(coefficients)
        levels = SH_LEVELS
        table = _sh_matrix(degree, device) @ coefficients
    else:
        size = _map_size(coefficients)
        levels = tuple((roughness, min(size, small)) for roughness, small in MAP_LEVELS)
        table = torch.cat(_map_tables(coefficients, size))
    first, placed = 0, []
    for roughness, size in levels:
        placed.append((roughness, size, first))
        first += size * size
    return PrefilteredLight(table=table, levels=tuple(placed), diffuse_row=first, turn=turn)


def radiance(environment: Environment, direction: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
    """Unfiltered radiance from world directions; spherical harmonics may dip below zero."""
    if environment.basis == "sh":
        basis = sh.sh_basis(direction, sh.degree_of(environment.coefficients))
        return basis @ environment.coefficients
    index, weights = bilinear_corners(direction, _map_size(environment.coefficients))
    return weighted_rows(environment.coefficients, index, weights)


def _map_size(coefficients: Float[Tensor, "basis 3"]) -> int:
    return round(len(coefficients) ** 0.5)


@functools.cache
def _sh_matrix(degree: int, device: torch.device) -> Float[Tensor, "rows basis"]:
    """Rows: all texels of the specular levels, then of the diffuse map."""
    cosine = torch.linspace(-1, 1, 20_001, dtype=torch.float64)
    band = torch.tensor([b for b in range(degree + 1) for _ in range(2 * b + 1)])
    rows = []
    for roughness, size in (*SH_LEVELS, (None, DIFFUSE_SIZE)):
        lobe = cosine.clamp_min(0) if roughness is None else reflected_lobe(cosine, roughness)
        factors = torch.tensor(sh.zonal_factors(lobe, cosine, degree))
        rows.append(sh.sh_basis(texel_directions(size).double(), degree) * factors[band])
    return torch.cat(rows).float().to(device)


def _map_tables(coefficients: Float[Tensor, "texels 3"], size: int) -> list[Float[Tensor, "_ 3"]]:
    """The specular levels of an octahedral light of `size`^2 texels, then its diffuse map."""
    pooled, last = {size: coefficients}, size
    smaller = {min(size, largest) for _, largest in (*MAP_LEVELS[1:], (None, DIFFUSE_SOURCE_SIZE))}
    for small in sorted(smaller, reverse=True):  # each from the one before
        pooled[small] = _pooled(pooled[last], last, small)
        last = small
    tables = [coefficients]  # the sharpest lobe is narrower than a texel
    for roughness, largest in (*MAP_LEVELS[1:], (None, DIFFUSE_SOURCE_SIZE)):
        small = min(size, largest)
        target = DIFFUSE_SIZE if roughness is None else small
        matrices = _lobe_matrix(small, target, roughness, coefficients.device)
        tables.append(_FixedSparseProduct.apply(*matrices, pooled[small]))
    return tables


def _pooled(coefficients: Float[Tensor, "texels 3"], size: int, small: int) -> Float[Tensor, "small_texels 3"]:
    """The octahedral map of `small`^2 texels that holds the mean radiance of those of one of `size`^2."""
    divisor = size // small
    shares = _pool_shares(size, small, coefficients.device) * coefficients
    return shares.reshape(small, divisor, small, divisor, 3).sum((1, 3)).reshape(-1, 3)


@functools.cache
def _pool_shares(size: int, small: int, device: torch.device) -> Float[Tensor, "texels 1"]:
    """Share of each texel in the solid angle of the texel of the `small`^2 map that it falls into."""
    angle = texel_solid_angles(size).reshape(small, size // small, small, size // small)
    return (angle / angle.sum((1, 3), keepdim=True)).reshape(-1, 1).to(device)


@functools.cache
def _lobe_matrix(source: int, target: int, roughness: float | None, device: torch.device) -> tuple[Tensor, Tensor]:
    """Normalised lobe weights of every target texel over the source texels, and the transpose, both sparse.

    No roughness means the cosine lobe. Weights below 1e-3 of a row's peak are left out.
    """
    to, solid_angle = texel_directions(source), texel_solid_angles(source)
    rows, columns, values = [], [], []
    for start in range(0, target * target, 1024):
        cosine = texel_directions(target)[start : start + 1024] @ to.mT
        lobe = cosine.clamp_min(0) if roughness is None else reflected_lobe(cosine, roughness)
        lobe = lobe * solid_angle
        lobe = torch.where(lobe > 1e-3 * lobe.amax(1, keepdim=True), lobe, 0)
        lobe = lobe / lobe.sum(1, keepdim=True)
        row, column = lobe.nonzero().unbind(1)
        rows.append(row + start)
        columns.append(column)
        values.append(lobe[row, column])
    index = torch.stack([torch.cat(rows), torch.cat(columns)])
    shape = (target * target, source * source)
    matrix = torch.sparse_coo_tensor(index, torch.cat(values), shape, check_invariants=True).coalesce()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        return matrix.to_sparse_csr().to(device), matrix.t().coalesce().to_sparse_csr().to(device)


class _FixedSparseProduct(torch.autograd.Function):
    """`matrix @ dense` for a constant sparse matrix; the gradient uses its stored transpose."""

    @staticmethod
    def forward(ctx, matrix: Tensor, transpose: Tensor, dense: Tensor) -> Tensor:  # type: ignore[no-untyped-def]  # noqa: ANN001
        ctx.transpose = transpose
        return torch.sparse.mm(matrix, dense)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[None, None, Tensor]:  # type: ignore[no-untyped-def]  # noqa: ANN001
        return None, None, torch.sparse.mm(ctx.transpose, grad)
