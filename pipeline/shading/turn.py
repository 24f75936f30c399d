"""Points of an object that turned under a light that stood still, as on a turntable."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

MOST_BOUNCES = 24  # turns for which light between parts of the mesh is traced: 15 degrees apart on a turntable


@dataclass(frozen=True, eq=False, kw_only=True)
class Turn:
    """How the world, in which the object lies still, stands in the light at each of some points.

    Attributes:
        light_from_world: Rotations, each of a photo.
        of_point: Which of them holds at each point.
        bounce: Which of the traced bounces is nearest to each rotation.
    """

    light_from_world: Float[Tensor, "turns 3 3"]
    of_point: Int[Tensor, "points"]
    bounce: Int[Tensor, "turns"]

    def in_light(self, direction: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
        """Directions of the world at the points, in the frame of the light; differentiable."""
        return torch.einsum("pij,pj->pi", self.light_from_world[self.of_point].to(direction), direction)


def spread_turns(
    light_from_world: Float[Tensor, "turns 3 3"],
) -> tuple[Float[Tensor, "few 3 3"], Int[Tensor, "turns"]]:
    """At most `MOST_BOUNCES` of the rotations, evenly by number, and which of these is nearest to each."""
    few = light_from_world[:: -(-len(light_from_world) // MOST_BOUNCES)]
    return few, torch.einsum("fij,tij->tf", few, light_from_world).argmax(1)  # the trace falls with the angle
