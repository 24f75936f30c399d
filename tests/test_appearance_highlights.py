"""Highlights have the colour of a metal and of no paint."""

from dataclasses import replace

import pytest
import torch

from pipeline.scene import Environment
from pipeline.stages.appearance_highlights import measure_highlights
from tests.test_appearance_fit import GLOSSY, GOLD, photograph, studio

ORANGE = torch.tensor([0.55, 0.22, 0.06, 0.2, 0.0])
DIM = Environment(coefficients=0.15 * studio().coefficients, basis="octahedral")  # nothing clips
STEEL = torch.tensor([0.56, 0.57, 0.58, 0.3, 1.0])


@pytest.mark.parametrize("exposed", [1.0, 1.4])
def test_a_metal_changes_in_its_own_colour_and_paint_in_white(exposed: float):
    """Also where the photos are not exposed alike."""
    measured = []
    for paints in ((GOLD, GOLD), (GLOSSY, ORANGE)):
        pixels, _, _ = photograph(views=16, size_px=160, paints=paints, light=DIM)
        gain = torch.where(pixels.view % 2 == 0, 1.0, exposed)[:, None]
        measured.append(measure_highlights(replace(pixels, target=pixels.target * gain)))
    gold, paint = measured
    assert gold.colored > 0.9 and gold.own_color > 0.8 and gold.change > 0.2
    assert paint.colored > 0.9 and paint.own_color < 0.4


def test_grey_and_clipped_things_and_lights_that_move_tell_nothing():
    steel, _, _ = photograph(views=16, size_px=64, paints=(STEEL, STEEL))
    gold, _, _ = photograph(views=16, size_px=64, paints=(GOLD, GOLD))
    turning = replace(gold, light_from_world=torch.eye(3).expand(16, 3, 3))
    clipped = replace(gold, target=torch.ones_like(gold.target))
    told = [measure_highlights(pixels) for pixels in (steel, turning, clipped, replace(gold, view=None))]
    assert told == [None] * 4
