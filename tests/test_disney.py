"""The reflectance model against integrals over the hemisphere."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from pipeline.scene import Environment
from pipeline.shading.disney import directional_albedo, directional_albedo_table, dominant_direction, ggx_distribution
from pipeline.shading.prefilter import prefilter
from pipeline.shading.shade import shade


@pytest.mark.parametrize("alpha", [0.0025, 0.04, 0.25, 0.64, 1.0])
def test_the_distribution_of_normals_is_normalised(alpha):
    def projected(log_angle):
        angle = math.exp(log_angle)
        density = float(ggx_distribution(torch.tensor(math.cos(angle), dtype=torch.float64), alpha))
        return density * math.cos(angle) * 2 * math.pi * math.sin(angle) * angle

    total, _ = quad(projected, math.log(1e-6), math.log(math.pi / 2), limit=200, epsabs=1e-8)
    assert total == pytest.approx(1, abs=1e-5)


def lobe(cos_v, roughness):
    """Lights over half a hemisphere, D G / (4 n.l n.v) n.l dw for each and its mirror image, and v.h; n = +Z."""
    a2, steps = roughness**4, 600
    theta = (np.arange(steps) + 0.5) / steps * math.pi / 2
    phi = (np.arange(steps) + 0.5) / steps * math.pi  # the other half is its mirror image
    light = np.stack(
        np.broadcast_arrays(
            np.sin(theta)[:, None] * np.cos(phi), np.sin(theta)[:, None] * np.sin(phi), np.cos(theta)[:, None]
        ),
        -1,
    )
    view = np.array([math.sqrt(1 - cos_v**2), 0, cos_v])
    half = light + view
    half /= np.linalg.norm(half, axis=-1, keepdims=True)
    cos_l, cos_h, v_h = light[..., 2], half[..., 2], half @ view
    distribution = a2 / (math.pi * (cos_h**2 * (a2 - 1) + 1) ** 2)
    lam_l = (np.sqrt(1 + a2 * (1 / cos_l**2 - 1)) - 1) / 2
    lam_v = (math.sqrt(1 + a2 * (1 / cos_v**2 - 1)) - 1) / 2
    brdf = distribution / (1 + lam_l + lam_v) / (4 * cos_l * cos_v)  # Heitz (2014), equations 72 and 99
    weight = brdf * cos_l * np.sin(theta)[:, None] * 2 * (math.pi / 2 / steps) * (math.pi / steps)
    return light, weight, v_h


def albedo_by_quadrature(cos_v, roughness):
    """Scale and bias of f0."""
    _, weight, v_h = lobe(cos_v, roughness)
    fresnel = (1 - v_h) ** 5
    return (weight * (1 - fresnel)).sum(), (weight * fresnel).sum()


@pytest.mark.parametrize("roughness", [0.3, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("cos_v", [0.1, 0.15, 0.5, 0.9])
def test_the_specular_albedo_is_the_integral_of_the_lobe(cos_v, roughness):
    scale, bias = directional_albedo(torch.tensor([cos_v]), torch.tensor([roughness]))
    expected = albedo_by_quadrature(cos_v, roughness)
    # 1024 samples an entry and bilinear between entries 1/31 apart; measured differences up to .005.
    assert (float(scale), float(bias)) == pytest.approx(expected, abs=0.007)


def test_a_smooth_surface_reflects_by_fresnels_term_alone():
    cos_v = torch.tensor([0.2, 0.5, 0.8, 1.0])
    scale, bias = directional_albedo(cos_v, torch.full((4,), 0.05))
    torch.testing.assert_close(bias, (1 - cos_v) ** 5, atol=0.01, rtol=0)
    torch.testing.assert_close(scale + bias, torch.ones(4), atol=0.01, rtol=0)


def test_no_energy_is_made():
    table = directional_albedo_table(torch.device("cpu"))
    assert (table >= 0).all()
    assert (table.sum(-1) <= 1 + 1e-6).all()


def test_the_albedo_differentiates_with_respect_to_roughness():
    cos_v, roughness = torch.rand(200), (torch.rand(200) * 30 + 0.2).floor() / 31 + 0.5 / 31  # inside a cell
    roughness.requires_grad_()
    for k in range(2):
        (grad,) = torch.autograd.grad(directional_albedo(cos_v, roughness)[k].sum(), roughness)
        step = 0.01
        with torch.no_grad():
            high, low = (directional_albedo(cos_v, roughness + s)[k] for s in (step, -step))
        torch.testing.assert_close(grad, (high - low) / (2 * step), atol=1e-4, rtol=0)


def furnace(base_color, metallic):
    """Radiance of random surfaces in even white light."""
    count = 500
    light = prefilter(Environment(coefficients=torch.full((32 * 32, 3), 1.0), basis="octahedral"))
    normal = torch.nn.functional.normalize(torch.randn(count, 3), dim=-1)
    wo = torch.nn.functional.normalize(
        normal + 0.9 * torch.nn.functional.normalize(torch.randn(count, 3), dim=-1), dim=-1
    )
    roughness = torch.rand(count)
    color = shade(
        light,
        base_color=torch.full((count, 3), base_color),
        roughness=roughness,
        metallic=torch.full((count,), metallic),
        normal=normal,
        wo=wo,
    )
    scale, bias = directional_albedo((normal * wo).sum(-1), roughness)
    return color, scale[:, None].expand(-1, 3), bias[:, None].expand(-1, 3)


def test_a_white_metal_in_a_furnace_shows_its_specular_albedo():
    """Single scattering: rough metals lose what bounces between facets."""
    color, scale, bias = furnace(1.0, 1.0)
    torch.testing.assert_close(color, scale + bias, atol=1e-4, rtol=0)
    assert color.max() <= 1.001


def test_a_white_dielectric_in_a_furnace_is_white():
    """The base gets what the coat does not mirror."""
    color, _, _ = furnace(1.0, 0.0)
    torch.testing.assert_close(color, torch.ones_like(color), atol=1e-4, rtol=0)


def test_a_black_dielectric_in_a_furnace_reflects_four_percent_and_more():
    color, scale, bias = furnace(0.0, 0.0)
    torch.testing.assert_close(color, 0.04 * scale + bias, atol=1e-4, rtol=0)
    assert color.min() > 0.01


@pytest.mark.parametrize(("tilt_deg", "within_deg"), [(25, 3), (55, 9)])
def test_mirrored_light_comes_from_nearer_the_normal_on_rough_surfaces(tilt_deg, within_deg):
    """Against the mean direction of the lobe; the mirror direction is off by up to 20 and 40 degrees."""
    tilt = math.radians(tilt_deg)
    normal, wo = torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([[math.sin(tilt), 0.0, math.cos(tilt)]])
    for roughness in (0.2, 0.4, 0.6, 0.8, 1.0):
        light, weight, _ = lobe(math.cos(tilt), roughness)
        x, _, z = (weight[..., None] * light).sum((0, 1))
        direction = dominant_direction(normal, wo, torch.tensor([roughness]))[0]
        assert float(direction.norm()) == pytest.approx(1, abs=1e-6)
        ours_deg = math.degrees(math.atan2(float(direction[0]), float(direction[2])))
        assert ours_deg == pytest.approx(math.degrees(math.atan2(x, z)), abs=within_deg)


def test_the_dominant_direction_differentiates_up_to_full_roughness():
    normal, wo = torch.tensor([[0.0, 0.0, 1.0]]).double(), torch.tensor([[0.6, 0.0, 0.8]]).double()
    roughness = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda r: dominant_direction(normal, wo, r), (roughness,))
    rough = torch.ones(1, requires_grad=True)
    (gradient,) = torch.autograd.grad(dominant_direction(normal.float(), wo.float(), rough)[0, 0], rough)
    assert gradient.isfinite().all()
