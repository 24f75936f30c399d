"""Choices that the fit makes by trying: what one place cannot tell, its paint elsewhere does."""

import pytest
import torch

from pipeline.stages.appearance_search import METALLIC, ROUGHNESS, _agree_on_roughness, _exchange_metals

SMOOTH, ROUGH = ROUGHNESS.index(0.2), ROUGHNESS.index(0.72)


def cells(base, roughness):
    return torch.tensor([[*base, roughness, 0.02]])


def errors(count, best=None):
    """Errors of cells that tell nothing of roughness, or that it is the `best`."""
    flat = torch.full((count, len(ROUGHNESS), len(METALLIC)), 0.01)
    if best is not None:
        flat += 0.2 * (torch.tensor(ROUGHNESS) - ROUGHNESS[best]).abs()[None, :, None]
    return flat


def test_a_place_that_mirrors_nothing_takes_the_roughness_of_its_paint():
    red, white = (0.6, 0.05, 0.04), (0.8, 0.78, 0.7)
    values = torch.cat([cells(red, 0.95).expand(5, -1), cells(red, 0.2), cells(white, 0.7)]).clone()
    error = torch.cat([errors(5), errors(1, SMOOTH), errors(1, ROUGH)])
    changed = _agree_on_roughness(values, error)
    assert changed.tolist() == [True] * 5 + [False, False]
    assert torch.equal(values[:6, 3], torch.full((6,), 0.2))
    assert float(values[6, 3]) == values.new_tensor(0.7)


def test_a_place_that_knows_its_own_roughness_keeps_it():
    values = cells((0.6, 0.05, 0.04), 0.7).repeat(9, 1)
    error = torch.cat([0.2 * errors(8, SMOOTH), errors(1, ROUGH)])
    _agree_on_roughness(values, error)
    assert abs(float(values[8, 3]) - 0.7) < 0.05
    assert float(values[0, 3]) < 0.3


def test_only_a_bright_metal_that_explains_far_more_takes_a_place():
    values = cells((0.2, 0.2, 0.2), 0.5).repeat(3, 1)
    error = torch.full((3, len(ROUGHNESS), len(METALLIC)), 0.1)
    error[0, SMOOTH, -1] = 0.05  # far better
    error[1, SMOOTH, -1] = 0.09  # hardly better
    error[2, SMOOTH, -1] = 0.05  # far better, but darker than any metal
    base = torch.full((3, len(ROUGHNESS), len(METALLIC), 3), 0.6)
    base[2] = 0.1
    assert _exchange_metals(values, base, error, began_as_metal=False).tolist() == [True, False, False]
    assert torch.allclose(values[0], torch.tensor([0.6, 0.6, 0.6, 0.2, 1.0]))
    assert torch.equal(values[1:], cells((0.2, 0.2, 0.2), 0.5).repeat(2, 1))


@pytest.mark.parametrize(
    ("color", "is_one"),
    [
        ((1.0, 0.77, 0.34), True),  # gold
        ((0.95, 0.64, 0.54), True),  # copper
        ((0.46, 0.44, 0.5), True),  # zinc
        ((0.6, 0.12, 0.1), False),  # red leather
        ((0.15, 0.5, 0.2), False),
        ((0.2, 0.25, 0.7), False),
    ],
)
def test_a_metal_has_the_color_of_one(color, is_one):
    values = cells(color, 0.5).clone()
    error = torch.full((1, len(ROUGHNESS), len(METALLIC)), 0.1)
    error[0, SMOOTH, -1] = 0.01
    base = torch.tensor(color).expand(1, len(ROUGHNESS), len(METALLIC), 3)
    assert _exchange_metals(values, base, error, began_as_metal=False).tolist() == [is_one]


@pytest.mark.parametrize(("all_began_as_metal", "give_way"), [(True, 4), (False, 3)])
def test_where_all_began_as_metal_any_better_dielectric_wins_unless_its_paint_is_metal(all_began_as_metal, give_way):
    """Cells of two colours that are metal so far: the cream is paint for most of its cells, the gold for one alone."""
    cream, gold = (0.8, 0.75, 0.6), (0.9, 0.6, 0.2)
    values = torch.cat([cells(cream, 0.4).expand(4, -1), cells(gold, 0.4).expand(8, -1)]).clone()
    values[:, 4] = 0.98
    error = torch.full((12, len(ROUGHNESS), len(METALLIC)), 0.1)
    error[:3, :, 0] = 0.05
    error[3:5, :, 0] = 0.09  # of the cream, and of the gold
    error[5:, :, 0] = 0.3
    base = torch.full((12, len(ROUGHNESS), len(METALLIC), 3), 0.6)
    exchanged = _exchange_metals(values, base, error, began_as_metal=all_began_as_metal)
    assert exchanged.tolist() == [True] * give_way + [False] * (12 - give_way)
    assert (values[:give_way, 4] == 0).all() and (values[give_way:, 4] == values.new_tensor(0.98)).all()
