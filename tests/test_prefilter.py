"""Prefiltered light against integrals over the sphere."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from pipeline.scene import Environment
from pipeline.shading.octahedral import texel_directions, texel_solid_angles
from pipeline.shading.prefilter import DIFFUSE_SIZE, prefilter, radiance
from pipeline.shading.spherical_harmonics import sh_basis

SIZE = 64
MAIN = normalize(torch.tensor([0.4, -0.5, 0.7]), dim=0)
TINT = torch.tensor([1.0, 0.8, 0.5])


def lamp(direction, width):
    """A coloured lamp of `width` radians in dim white light."""
    return 0.2 + 20 * torch.exp(-(1 - direction @ MAIN) / width**2)[:, None] * TINT


def around_the_lamp():
    near = MAIN + torch.cat([0.02 * torch.randn(20, 3), 0.3 * torch.randn(60, 3)])
    return normalize(torch.cat([near, torch.randn(60, 3)]), dim=-1)


def ggx_kernel(cosine, roughness):
    """Karis (2013): half vectors drawn from GGX around n = v and lights weighed by n.l, so D(h) n.l per light."""
    alpha2, half2 = roughness**4, (1 + cosine) / 2
    return torch.where(cosine > 0, alpha2 / (math.pi * (half2 * (alpha2 - 1) + 1) ** 2) * cosine, 0)


def integrate(direction, light, kernel):
    """The light blurred by a kernel of the cosine, over 65 536 directions."""
    samples, angle = texel_directions(256), texel_solid_angles(256)
    weight = kernel(direction @ samples.mT) * angle
    return weight @ light(samples) / weight.sum(1, keepdim=True)


def octahedral(light, size=SIZE):
    return Environment(coefficients=light(texel_directions(size)), basis="octahedral")


@pytest.mark.parametrize("size", [32, 128])
@pytest.mark.parametrize("roughness", [0.16, 0.26, 0.4, 0.5, 0.7, 0.9, 1.0])
def test_mirrored_light_is_the_light_under_the_ggx_lobe(roughness, size):
    direction = around_the_lamp()
    expected = integrate(direction, lambda d: lamp(d, 0.3), lambda c: ggx_kernel(c, roughness))
    actual = prefilter(octahedral(lambda d: lamp(d, 0.3), size)).specular(direction, torch.full((140,), roughness))
    # Bilinear look-ups flatten a peak, straight lines between levels raise it: measured up to 4 % of the peak.
    assert ((actual - expected).abs().max() / expected.max()) < 0.05


@pytest.mark.parametrize("roughness", [0.2, 0.4, 0.58, 0.78])
def test_a_narrow_lamp_keeps_its_brightness(roughness):
    """A lamp of 6 degrees, the width of a texel of the rough levels: its energy stays, its peak may be off by more."""
    direction = around_the_lamp()
    expected = integrate(direction, lambda d: lamp(d, 0.1), lambda c: ggx_kernel(c, roughness))
    actual = prefilter(octahedral(lambda d: lamp(d, 0.1))).specular(direction, torch.full((140,), roughness))
    assert (actual - expected).abs().max() / expected.max() < 0.14  # measured .13 at .4, .05 elsewhere
    even = texel_directions(16)
    total = prefilter(octahedral(lambda d: lamp(d, 0.1))).specular(even, torch.full((256,), roughness)).mean(0)
    whole = integrate(even, lambda d: lamp(d, 0.1), lambda c: ggx_kernel(c, roughness)).mean(0)
    torch.testing.assert_close(total, whole, rtol=0.03, atol=0)


def test_diffuse_light_is_the_light_under_the_cosine():
    normal = around_the_lamp()
    expected = integrate(normal, lambda d: lamp(d, 0.3), lambda c: c.clamp_min(0))
    actual = prefilter(octahedral(lambda d: lamp(d, 0.3), 128)).diffuse(normal)
    error = (actual - expected).abs()
    assert error.max() / expected.max() < 0.025  # bilinear over texels of 6 degrees; measured .018
    assert (error / expected).mean() < 0.012  # measured .008


def test_harmonics_and_maps_agree_on_smooth_light():
    coefficients = 0.2 * torch.randn(16, 3)
    coefficients[0] = 4.0
    smooth = Environment(coefficients=coefficients, basis="sh")
    sampled = octahedral(lambda d: sh_basis(d, 3) @ coefficients)
    direction = normalize(torch.randn(400, 3), dim=-1)
    torch.testing.assert_close(radiance(smooth, direction), radiance(sampled, direction), rtol=0.01, atol=0)
    a, b = prefilter(smooth), prefilter(sampled)
    torch.testing.assert_close(a.diffuse(direction), b.diffuse(direction), rtol=0.01, atol=0)
    for roughness in (0.1, 0.3, 0.6, 1.0):  # straight lines between different levels: measured 2.4 %
        rough = torch.full((400,), roughness)
        torch.testing.assert_close(a.specular(direction, rough), b.specular(direction, rough), rtol=0.03, atol=0)


@pytest.mark.parametrize("basis", ["sh", "octahedral"])
def test_constant_light_stays_constant(basis):
    if basis == "sh":
        coefficients = torch.zeros(25, 3)
        coefficients[0] = math.sqrt(4 * math.pi) * TINT
    else:
        coefficients = TINT.expand(32 * 32, 3)
    light = prefilter(Environment(coefficients=coefficients, basis=basis))
    direction = normalize(torch.randn(300, 3), dim=-1)
    expected = TINT.expand(300, 3)
    torch.testing.assert_close(light.diffuse(direction), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(light.specular(direction, torch.rand(300)), expected, atol=1e-5, rtol=0)


def test_the_table_holds_the_levels_one_below_the_other():
    light = prefilter(octahedral(lambda d: lamp(d, 0.3), 128))
    rows = 0
    for (roughness, size, first), after in zip(light.levels, [*light.levels[1:], (2.0, 0, 0)], strict=True):
        assert roughness < after[0]
        assert first == rows
        rows += size * size
    assert light.diffuse_row == rows
    assert len(light.table) == rows + DIFFUSE_SIZE**2


def shaded(coefficients, basis, direction, roughness):
    light = prefilter(Environment(coefficients=coefficients, basis=basis))
    return light.specular(direction, roughness) + light.diffuse(direction)


@pytest.mark.parametrize(("basis", "rows"), [("sh", 25), ("octahedral", 32 * 32)])
def test_derivatives_with_respect_to_the_light_are_finite_differences(basis, rows):
    """The light acts linearly, so a difference over any step is exact but for rounding."""
    direction, roughness, change = around_the_lamp(), torch.rand(140), torch.randn(rows, 3)
    weight = torch.randn(140, 3)
    start = torch.rand(rows, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad((shaded(start, basis, direction, roughness) * weight).sum(), start)
    with torch.no_grad():
        high, low = (shaded(start + s * change, basis, direction, roughness) for s in (1, -1))
    difference = ((high - low) / 2 * weight).double().sum()
    torch.testing.assert_close((gradient * change).double().sum(), difference, rtol=1e-4, atol=1e-3)


def test_derivatives_with_respect_to_roughness_are_finite_differences():
    light = prefilter(octahedral(lambda d: lamp(d, 0.3)))
    direction = around_the_lamp()
    roughness = torch.tensor([0.12, 0.2, 0.33, 0.5, 0.68, 0.9]).repeat(24)[:140].requires_grad_()  # between levels
    (gradient,) = torch.autograd.grad(light.specular(direction, roughness).sum(), roughness)
    with torch.no_grad():
        high, low = (light.specular(direction, roughness + s).sum(1) for s in (0.02, -0.02))
    torch.testing.assert_close(gradient, (high - low) / 0.04, rtol=1e-3, atol=1e-2)


def test_beyond_the_levels_roughness_changes_nothing():
    light = prefilter(octahedral(lambda d: lamp(d, 0.3)))
    direction = around_the_lamp()
    smoothest = light.specular(direction, torch.zeros(140))
    torch.testing.assert_close(smoothest, light.specular(direction, torch.full((140,), 0.09)))
    torch.testing.assert_close(light.specular(direction, torch.full((140,), 1.5)).isfinite().all(), torch.tensor(True))
