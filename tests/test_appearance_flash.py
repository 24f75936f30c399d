"""A lamp at the camera: its shading against the model written out for any light, and the fit on the ball under it."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from pipeline.metrics import psnr
from pipeline.scene import Environment
from pipeline.shading.flash import shade_flash
from pipeline.stages.appearance_fit import AppearanceFit
from pipeline.stages.appearance_pixels import Pixels
from pipeline.stages.appearance_start import choose_start
from tests.test_appearance_fit import CONFIG, GLOSSY, GOLD, MATT, photograph

FLASH = torch.tensor([1.3, 1.2, 1.1])  # radiance of a white surface that faces it from a distance of 4
RIG = replace(CONFIG, flash=True, steps=120)


def under_a_lamp(wi, wo, n, paint):
    """Radiance under unit irradiance at normal incidence times pi, one point, by glTF 2.0's appendix B."""
    base_color, roughness, metallic = paint[:3], float(paint[3]), float(paint[4])
    alpha = roughness**2
    h = normalize(wi + wo, dim=0)
    cos_l, cos_v, cos_h, v_h = (float(a @ b) for a, b in ((n, wi), (n, wo), (n, h), (wo, h)))
    distribution = alpha**2 / (math.pi * (cos_h**2 * (alpha**2 - 1) + 1) ** 2)
    lam = [(math.sqrt(1 + alpha**2 * (1 / c**2 - 1)) - 1) / 2 for c in (cos_l, cos_v)]
    specular = distribution / (1 + sum(lam)) / (4 * cos_l * cos_v)
    schlick = (1 - v_h) ** 5
    dielectric = 0.04 + 0.96 * schlick
    of_dielectric = (1 - dielectric) * base_color / math.pi + dielectric * specular
    of_metal = (base_color + (1 - base_color) * schlick) * specular
    return math.pi * cos_l * torch.lerp(of_dielectric, of_metal, metallic)


def test_a_lamp_at_the_camera_is_shaded_by_the_model():
    generator = torch.Generator().manual_seed(0)
    paints = torch.rand(40, 5, generator=generator, dtype=torch.float64)
    paints[:, 3] = 0.1 + 0.9 * paints[:, 3]
    n, wo = (normalize(torch.randn(40, 3, generator=generator, dtype=torch.float64), dim=1) for _ in range(2))
    wo = wo * (n * wo).sum(1, keepdim=True).sign()
    flash = torch.ones(40, 3, dtype=torch.float64)
    color = shade_flash(flash, paints[:, :3], paints[:, 3], paints[:, 4], n, wo)
    expected = torch.stack([under_a_lamp(w, w, m, p) for w, m, p in zip(wo, n, paints, strict=True)])
    torch.testing.assert_close(color, expected, rtol=1e-9, atol=1e-9)


def flashed(paints=(MATT, GLOSSY), views=12):
    """The ball from two distances, lit by the camera's lamp and dimly all around."""
    dim = Environment(coefficients=torch.full((32 * 32, 3), 0.08), basis="octahedral")
    parts, truths = [], []
    for distance in (3.0, 6.0):
        pixels, truth, _ = photograph(views, 64, dim, paints, distance)
        cos = (pixels.normal * pixels.wo).sum(1)
        along = -cos + (cos * cos + distance * distance - 1).sqrt()
        points = zip(pixels.wo.double(), pixels.normal.double(), truth.double(), strict=True)
        lamp = torch.stack([under_a_lamp(wo, wo, n, paint) for wo, n, paint in points]).float()
        target = pixels.target + FLASH * lamp * (4 / along).square()[:, None]
        parts.append(replace(pixels, target=target.clamp(0, 1), distance=along))
        truths.append(truth)
    names = ("uv", "normal", "wo", "target", "distance")
    return Pixels(**{name: torch.cat([getattr(p, name) for p in parts]) for name in names}), torch.cat(truths)


@pytest.fixture(scope="module")
def ball():
    return flashed()


@pytest.mark.parametrize("flash", [True, False])
def test_the_flash_explains_the_photos(ball, flash):
    pixels, truth = ball
    fit = AppearanceFit(pixels, replace(RIG, flash=flash), texture_px=64, seed=0)
    for _ in range(RIG.steps):
        fit.advance()
    values = fit.maps(pixels.uv).detach()
    scale = truth[:, :3].mean(0) / values[:, :3].mean(0)
    quality = psnr(values[:, :3] * scale, truth[:, :3])
    assert (fit.photo_psnr() > 31) == flash  # measured 34.3, without a lamp 12.6
    assert (quality > 29) == flash  # measured 31.5, without 22.8
    if flash:
        assert 0.9 < float(scale.mean()) < 1.4  # measured 1.2
        assert float((values[:, 3] - truth[:, 3]).abs().mean()) < 0.12  # roughness; measured .07
        lamp = torch.exp(fit.lights[0].flash.detach()) * (fit.lights[0].reach / 4) ** 2
        assert 0.9 < float((lamp / FLASH / scale).mean()) < 1.1  # with the colours it explains the photos
        assert 0.04 < float(fit.environment.coefficients.detach().mean()) < 0.16  # measured .088 of .08


@pytest.mark.parametrize(("paints", "metal"), [((GOLD, GOLD), True), ((MATT, GLOSSY), False)])
def test_metal_is_told_from_paint_under_a_flash(paints, metal):
    start = choose_start(flashed(paints)[0], RIG, None, seed=0)
    assert (start.metal, start.light) == (metal, "octahedral")
