"""What a fit starts as: metal or not, under a sharp or a soft light."""

from dataclasses import replace

import pytest
import torch

from pipeline.shading.light_maps import sh_from_octahedral
from pipeline.stages.appearance_start import choose_start
from tests.test_appearance_fit import CONFIG, CREAM, GLOSSY, GOLD, MATT, STEEL, photograph, studio

SMOOTH = torch.tensor([0.55, 0.22, 0.12, 0.15, 0.0])
CHALK, SLATE = torch.tensor([0.55, 0.22, 0.12, 0.9, 0.0]), torch.tensor([0.12, 0.25, 0.5, 0.8, 0.0])


RED, LACQUER = torch.tensor([0.7, 0.08, 0.05, 0.4, 0.0]), torch.tensor([0.03, 0.03, 0.03, 0.15, 0.0])


@pytest.mark.parametrize(
    ("paints", "metal"), [((GOLD, GOLD), True), ((MATT, GLOSSY), False), ((LACQUER, CREAM), False)]
)
def test_an_object_starts_as_metal_where_that_explains_the_photos(paints, metal):
    pixels, _, _ = photograph(views=12, size_px=48, paints=paints)
    assert choose_start(pixels, CONFIG, None, seed=0).metal == metal


@pytest.mark.parametrize("paint", [RED, CREAM])
def test_an_object_that_is_metal_by_half_starts_as_metal(paint):
    """A metal under a fair light is taken for black lacquer under a light so bright that the paint must be dark."""
    pixels, _, _ = photograph(views=12, size_px=48, paints=(STEEL, paint))
    assert choose_start(pixels, CONFIG, None, seed=0).metal


def test_the_light_is_soft_only_where_nothing_depends_on_its_detail():
    """Two chalks under a soft light, and two smooth paints under lamps."""
    config = replace(CONFIG, light="auto", metal_search=False)
    matt, _, _ = photograph(views=12, size_px=64, paints=(CHALK, SLATE), light=sh_from_octahedral(studio(), 2))
    glossy, _, _ = photograph(views=12, size_px=64, paints=(SMOOTH, GLOSSY))
    soft, sharp = (choose_start(pixels, config, None, seed=0) for pixels in (matt, glossy))
    assert soft.light == "sh" and soft.sharp_gain_db < 0  # measured -.003
    assert sharp.light == "octahedral" and sharp.sharp_gain_db > 1  # measured 7.7
    assert (soft.figures["sharp_light"], sharp.figures["sharp_light"]) == (0, 1)


@pytest.mark.parametrize("light", ["sh", "octahedral"])
def test_a_light_that_the_settings_name_is_taken(light):
    pixels, _, _ = photograph(views=2, size_px=24)
    start = choose_start(pixels, replace(CONFIG, light=light, metal_search=False), None, seed=0)
    assert (start.metal, start.light, start.sharp_gain_db) == (False, light, None)
