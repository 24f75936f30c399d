"""Lights turned about the world's origin."""

import math

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from pipeline.scene import Environment
from pipeline.shading import spherical_harmonics as sh
from pipeline.shading.octahedral import texel_directions, texel_solid_angles
from pipeline.shading.prefilter import radiance

_SAMPLES_PER_TEXEL = 4  # along each side


def rotated(environment: Environment, new_from_old: Float[Tensor, "3 3"]) -> Environment:
    """The light after a rotation: what came from direction d comes from `new_from_old` @ d.

    Spherical harmonics turn exactly; an octahedral map is read between its texels, which blurs it by about one.
    """
    if environment.basis == "sh":
        turn = sh_rotation(new_from_old, sh.degree_of(environment.coefficients))
        coefficients = turn.to(environment.coefficients) @ environment.coefficients
    else:
        coefficients = _resampled(environment, new_from_old)
    return Environment(coefficients=coefficients, basis=environment.basis)


def sh_rotation(new_from_old: Float[Tensor, "3 3"], degree: int) -> Float64[Tensor, "basis basis"]:
    """The matrix that turns coefficients of bands 0..`degree`: one orthogonal block per band.

    Entry (i, j) is the integral of Y_i(d) Y_j(old_from_new d), by a quadrature that is exact for such products:
    Gauss and Legendre's in height, even steps around.
    """
    height, weight = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(degree + 1))
    steps = 2 * degree + 1
    azimuth = 2 * math.pi * torch.arange(steps, dtype=torch.float64) / steps
    across = (1 - height.square()).sqrt()[:, None]
    direction = torch.stack(
        [across * azimuth.sin(), height[:, None].expand(-1, steps), across * azimuth.cos()], -1
    ).reshape(-1, 3)
    solid_angle = (weight * 2 * math.pi / steps).repeat_interleave(steps)[:, None]
    turned = sh.sh_basis(direction @ new_from_old.double(), degree)
    matrix = sh.sh_basis(direction, degree).mT @ (turned * solid_angle)
    band = torch.tensor([b for b in range(degree + 1) for _ in range(2 * b + 1)])
    return torch.where(band[:, None] == band, matrix, 0)  # what is left between bands is rounding


def _resampled(environment: Environment, new_from_old: Float[Tensor, "3 3"]) -> Float[Tensor, "texels 3"]:
    """Means over the new texels' solid angles of the light between the old texels."""
    size, fine = math.isqrt(len(environment.coefficients)), _SAMPLES_PER_TEXEL
    solid_angle = texel_solid_angles(size * fine)[:, None]
    read = radiance(environment, texel_directions(size * fine) @ new_from_old.float()) * solid_angle

    def pooled(values: Float[Tensor, "samples channels"]) -> Float[Tensor, "texels channels"]:
        return values.reshape(size, fine, size, fine, -1).sum((1, 3)).reshape(size * size, -1)

    return pooled(read) / pooled(solid_angle)
