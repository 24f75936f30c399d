"""Light maps against what they were made of: energy, directions and spherical harmonics come back."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from pipeline.frames import direction_from_equirect_uv, equirect_uv_from_direction
from pipeline.scene import Environment
from pipeline.shading.light_maps import (
    equirect,
    equirect_directions,
    equirect_solid_angles,
    map_radiance,
    octahedral_light,
    sh_from_equirect,
    sh_from_octahedral,
    turned_about_up,
)
from pipeline.shading.light_rotation import rotated
from pipeline.shading.octahedral import texel_directions, texel_solid_angles
from pipeline.shading.spherical_harmonics import sh_basis


def coefficients(degree):
    """Random bands over a constant that keeps the light positive."""
    values = 0.1 * torch.randn((degree + 1) ** 2, 3)
    values[0] = 10.0
    return values


def energy(light):
    return (light.coefficients * texel_solid_angles(math.isqrt(len(light.coefficients)))[:, None]).double().sum(0)


def test_solid_angles_add_up_to_the_sphere():
    assert float(equirect_solid_angles(37).double().sum() * 74) == pytest.approx(4 * math.pi, rel=1e-6)


@pytest.mark.parametrize("degree", [0, 2, 8, 12])
def test_harmonics_come_back_from_the_maps_made_of_them(degree):
    made = Environment(coefficients=coefficients(degree), basis="sh")
    read = sh_from_equirect(equirect(made, 64), degree)
    torch.testing.assert_close(read.coefficients, made.coefficients, atol=1e-4, rtol=0)
    texels = Environment(coefficients=sh_basis(texel_directions(64), degree) @ made.coefficients, basis="octahedral")
    read = sh_from_octahedral(texels, degree)
    torch.testing.assert_close(read.coefficients, made.coefficients, atol=1e-4, rtol=0)


def test_a_sun_projects_to_the_harmonics_around_it():
    """The integral of a narrow light against each harmonic is the harmonic there, times its energy."""
    light = torch.zeros(256, 512, 3)
    light[60, 400] = 1e4
    sun = equirect_directions(256)[60, 400]
    expected = sh_basis(sun, 4) * 1e4 * equirect_solid_angles(256)[60]
    actual = sh_from_equirect(light, 4).coefficients
    torch.testing.assert_close(actual, expected[:, None].expand(-1, 3), atol=1e-3 * float(expected.abs().max()), rtol=0)


@pytest.mark.parametrize(("height", "size"), [(16, 32), (37, 16), (256, 64), (128, 256)])
def test_constant_light_stays_constant(height, size):
    color = torch.tensor([1.0, 0.5, 20.0])
    light = octahedral_light(color.expand(height, 2 * height, 3), size)
    torch.testing.assert_close(light.coefficients, color.expand(size * size, 3))


@pytest.mark.parametrize("size", [32, 256])
def test_a_sun_of_one_pixel_keeps_its_energy_and_direction(size):
    light, places = torch.zeros(256, 512, 3), torch.rand(8, 2)
    half_diagonal = 3 * math.sqrt(2) / size  # of the longest texels, in the middle of the octahedron's faces
    # where texels are small, meet the map's border, or are cut by the octahedron's edges
    edges = [[0.0, 0.0], [0.5, 0.001], [0.5, 0.5], [0.75, 0.5], [0.625, 0.35], [0.51, 0.6], [0.999, 0.999]]
    for u, v in [*edges, *places.tolist()]:
        row, column = int(v * 256), int(u * 512)
        light[row, column] = torch.tensor([1e5, 1.0, 0.0])
        texels = octahedral_light(light, size)
        expected = light[row, column] * equirect_solid_angles(256)[row]
        torch.testing.assert_close(energy(texels).float(), expected, rtol=0.01, atol=0)
        weight = texels.coefficients[:, 0] * texel_solid_angles(size)
        center = normalize(weight @ texel_directions(size), dim=0)
        sun = direction_from_equirect_uv(torch.tensor([(column + 0.5) / 512, (row + 0.5) / 256]))
        assert center @ sun > 0
        assert float(torch.linalg.cross(center, sun).norm()) < half_diagonal, (u, v)
        light[row, column] = 0


def test_smooth_light_is_the_light_at_the_texels():
    made = Environment(coefficients=coefficients(4), basis="sh")
    texels = octahedral_light(equirect(made, 128), 64)
    expected = sh_basis(texel_directions(64), 4) @ made.coefficients
    torch.testing.assert_close(texels.coefficients, expected, atol=0.01, rtol=0)


def test_a_map_is_read_between_its_pixels_and_across_its_seam():
    made = Environment(coefficients=coefficients(3), basis="sh")
    direction = normalize(torch.randn(500, 3), dim=-1)
    direction[:50] = normalize(torch.tensor([-1.0, 0.2, 0.0]) + 1e-3 * torch.randn(50, 3), dim=-1)
    expected = sh_basis(direction, 3) @ made.coefficients
    torch.testing.assert_close(map_radiance(equirect(made, 128), direction), expected, atol=0.01, rtol=0)
    light = torch.rand(8, 16, 3)
    centers = equirect_directions(8).reshape(-1, 3)
    torch.testing.assert_close(map_radiance(light, centers), light.reshape(-1, 3), atol=1e-4, rtol=0)


def test_a_bright_texel_lands_where_its_direction_belongs():
    for texel in (5, 333, 700, 1010):
        coefficients = torch.zeros(32 * 32, 3)
        coefficients[texel] = 1.0
        picture = equirect(Environment(coefficients=coefficients, basis="octahedral"), 128)[..., 0]
        row, column = divmod(int(picture.argmax()), 256)
        u, v = equirect_uv_from_direction(texel_directions(32)[texel]).tolist()
        assert abs((column + 0.5) / 256 - u) < 1.5 / 256
        assert abs((row + 0.5) / 128 - v) < 1.5 / 128


@pytest.mark.parametrize("angle_deg", [90.0, -33.3, 720.01])
def test_turning_a_map_is_rotating_its_light(angle_deg):
    made, angle = Environment(coefficients=coefficients(4), basis="sh"), math.radians(angle_deg)
    turn = torch.tensor([[math.cos(angle), 0, math.sin(angle)], [0, 1, 0], [-math.sin(angle), 0, math.cos(angle)]])
    actual = turned_about_up(equirect(made, 64), angle_deg)
    torch.testing.assert_close(actual, equirect(rotated(made, turn), 64), atol=0.005, rtol=0)
    torch.testing.assert_close(actual.sum(1), equirect(made, 64).sum(1))


def test_negative_lobes_are_cut_from_the_map():
    dipole = torch.zeros(4, 3)
    dipole[2] = 1.0  # band 1, m = 0: y
    picture = equirect(Environment(coefficients=dipole, basis="sh"), 16)
    assert float(picture.min()) == 0
    assert (picture[0] > 0).all() and (picture[-1] == 0).all()
