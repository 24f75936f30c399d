"""Turned lights: evaluating them is evaluating the first light in the direction turned back."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from pipeline.scene import Environment
from pipeline.shading.light_rotation import rotated, sh_rotation
from pipeline.shading.octahedral import texel_directions, texel_solid_angles
from pipeline.shading.prefilter import radiance

TURNS = [
    torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(k))).Q
    for k in range(3)
]
TURNS = [turn * torch.linalg.det(turn).sign() for turn in TURNS]


def harmonics(degree):
    return Environment(coefficients=torch.randn((degree + 1) ** 2, 3), basis="sh")


@pytest.mark.parametrize("degree", [0, 1, 4, 8, 12])
@pytest.mark.parametrize("turn", TURNS)
def test_a_turned_light_shines_from_turned_directions(degree, turn):
    light, direction = harmonics(degree), normalize(torch.randn(200, 3, dtype=torch.float64), dim=-1)
    light = Environment(coefficients=light.coefficients.double(), basis="sh")
    expected = radiance(light, direction @ turn)  # rows times turn: the inverse turn of each
    torch.testing.assert_close(radiance(rotated(light, turn), direction), expected, atol=1e-5, rtol=0)


def test_a_quarter_turn_about_up_takes_front_to_the_right():
    """+Z to +X, so that positive angles are counter-clockwise seen from above."""
    turn = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    light = torch.zeros(4, 3)
    light[3] = 1.0  # z
    expected = torch.zeros(4, 3)
    expected[1] = 1.0  # x
    actual = rotated(Environment(coefficients=light, basis="sh"), turn)
    torch.testing.assert_close(actual.coefficients, expected, atol=1e-6, rtol=0)


def test_turns_compose_and_keep_the_norm_of_every_band():
    first, second = (sh_rotation(turn, 6) for turn in TURNS[:2])
    torch.testing.assert_close(second @ first, sh_rotation(TURNS[1] @ TURNS[0], 6), atol=1e-10, rtol=0)
    torch.testing.assert_close(first.mT @ first, torch.eye(49, dtype=torch.float64), atol=1e-10, rtol=0)
    for band in range(7):
        rows = slice(band**2, (band + 1) ** 2)
        assert float(first[rows, : band**2].abs().sum() + first[rows, (band + 1) ** 2 :].abs().sum()) == 0


@pytest.mark.parametrize("turn", TURNS)
def test_an_octahedral_light_turns_with_its_energy(turn):
    light = Environment(coefficients=torch.zeros(64 * 64, 3), basis="octahedral")
    for texel in (0, 777, 2016, 3000):
        light.coefficients.zero_()
        light.coefficients[texel] = 1000.0
        after = rotated(light, turn).coefficients[:, 0] * texel_solid_angles(64)
        assert float(after.sum()) == pytest.approx(1000 * float(texel_solid_angles(64)[texel]), rel=0.05)
        center = normalize(after @ texel_directions(64), dim=0)
        expected = turn.float() @ texel_directions(64)[texel]
        assert float(torch.linalg.cross(center, expected).norm()) < math.radians(1.4)  # half a texel


def test_constant_octahedral_light_stays_constant():
    light = Environment(coefficients=torch.full((32 * 32, 3), 0.7), basis="octahedral")
    torch.testing.assert_close(rotated(light, TURNS[0]).coefficients, light.coefficients)
