"""Distant light."""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class Environment:
    """Distant radiance in the world frame, linear in its coefficients.

    Attributes:
        coefficients: Linear Rec. 709 coefficients of the basis. For "sh": real orthonormal spherical
            harmonics of degree d, (d + 1)^2 rows, index l(l + 1) + m. For "octahedral": the texels of a
            square octahedral map, row by row.
        basis: Which basis the coefficients belong to; `shading` evaluates it.
    """

    coefficients: Float[Tensor, "basis 3"]
    basis: Literal["sh", "octahedral"]
