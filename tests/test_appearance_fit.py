"""The appearance fit on a ball of two known paints under a known light: recovered within bounds on both sides.

The failures that these bounds guard against were all seen: metal everywhere, colour times three and light over
three, a cast of the light in the colours, roughness saturating at 1.
"""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from pipeline.config import AppearanceConfig
from pipeline.metrics import psnr
from pipeline.scene import Environment
from pipeline.shading.octahedral import octahedral_from_direction, texel_directions
from pipeline.shading.prefilter import prefilter
from pipeline.shading.shade import shade
from pipeline.stages.appearance_fit import AppearanceFit
from pipeline.stages.appearance_pixels import Pixels, hold_out, resolved_texture_px, spared_photo
from tests.shapes import cameras_around, pixel_rays, sphere_hits

MATT = torch.tensor([0.55, 0.22, 0.12, 0.6, 0.0])  # base colour, roughness, metallic
GLOSSY = torch.tensor([0.12, 0.25, 0.5, 0.15, 0.0])
STEEL, CREAM = torch.tensor([0.55, 0.56, 0.58, 0.25, 1.0]), torch.tensor([0.8, 0.75, 0.6, 0.5, 0.0])
GOLD = torch.tensor([0.9, 0.7, 0.3, 0.3, 1.0])
BLUISH = torch.tensor([0.5, 0.9, 1.5])
CONFIG = AppearanceConfig(texture_px=64, steps=80, batch_px=2048, light_map_px=32, checkpoint_steps=1000)


def studio():
    """Four lamps of 16 degrees in half bright surroundings, about white."""
    lamps = normalize(torch.tensor([[1.0, 0.4, 0.3], [-0.5, 0.8, 0.6], [0.2, 0.5, -0.9], [-0.9, 0.1, -0.4]]), dim=-1)
    colors = torch.tensor([[6.0, 5.6, 5.2], [4.0, 4.4, 4.8], [6.0, 6.0, 6.0], [3.0, 3.0, 2.8]])
    weight = torch.exp((texel_directions(32) @ lamps.mT - 1) / 0.04)
    return Environment(coefficients=0.5 + weight @ colors, basis="octahedral")


def photograph(views=24, size_px=80, light=None, paints=(MATT, GLOSSY), distance=4.0, share=0.5):
    """Pixels of the ball in six stripes, alternately of two paints, and the true values behind them.

    `share` of the ball is of the second paint.
    """
    normals, directions, shown = [], [], []
    for camera in cameras_around(views, distance=distance, size_px=size_px, focal_px=0.375 * distance * size_px):
        hits, along = (x[..., 0] for x in sphere_hits(camera))
        rays = pixel_rays(camera)[:, :, 0]
        normal = normalize(camera.camera_center + along[..., None] * rays, dim=-1)
        usable = hits & ((normal * -rays).sum(-1) > 0.15)
        normals.append(normal[usable].float())
        directions.append(-rays[usable].float())
        shown.append(int(usable.sum()))
    normal, wo = torch.cat(normals), torch.cat(directions)
    stripe = ((torch.atan2(normal[:, 0], normal[:, 2]) / math.pi + 1) * 1.5 % 1 >= 1 - share).long()
    truth = torch.stack(paints)[stripe]
    color = shade(
        prefilter(studio() if light is None else light),
        base_color=truth[:, :3],
        roughness=truth[:, 3],
        metallic=truth[:, 4],
        normal=normal,
        wo=wo,
    )
    uv = octahedral_from_direction(normal)
    view = torch.arange(views, dtype=torch.int16).repeat_interleave(torch.tensor(shown))
    return Pixels(uv=uv, normal=normal, wo=wo, target=color.clamp(0, 1), view=view), truth, stripe == 0


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """The fit, its values at the pixels, the true ones, and which pixels are matt."""
    pixels, truth, matt = photograph()
    fit = AppearanceFit(pixels, CONFIG, texture_px=CONFIG.texture_px, seed=0)
    fit.run(tmp_path_factory.mktemp("fit") / "checkpoint.safetensors", lambda part, note: None)
    return fit, fit.maps(pixels.uv), truth, matt


def test_the_photos_are_explained(fitted):
    assert fitted[0].photo_psnr() > 29  # measured 32.7


def test_base_colours_are_right_but_for_brightness(fitted):
    _, values, truth, _ = fitted
    scale = truth[:, :3].mean(0) / values[:, :3].mean(0)
    assert psnr(values[:, :3] * scale, truth[:, :3]) > 26  # measured 31.1
    assert float(scale.max() / scale.min()) < 1.08  # no cast of the light in the colours; measured 1.015


def test_brightness_goes_neither_to_the_colours_nor_to_the_light(fitted):
    """Highlights of 4 % settle it, slowly: measured 1.35 after 80 steps, 1.17 after 150, 1.01 after 300."""
    fit, values, truth, _ = fitted
    scale = float(truth[:, :3].mean() / values[:, :3].mean())
    assert 0.8 < scale < 1.6
    light = float(studio().coefficients.mean() / fit.environment.coefficients.detach().mean())
    assert 0.6 < light < 1.25  # measured .77
    assert 0.85 < scale * light < 1.2  # together they explain the photos


def test_nothing_turns_metallic(fitted):
    metallic = fitted[1][:, 4]
    assert float(metallic.mean()) < 0.01  # measured .002
    assert float((metallic > 0.05).float().mean()) < 0.02  # measured .006, where the search's cells hold both paints


def test_paints_keep_their_own_roughness(fitted):
    _, values, truth, matt = fitted
    error = (values[:, 3] - truth[:, 3]).abs()
    assert float(error[matt].mean()) < 0.12  # measured .045
    assert float(error[~matt].mean()) < 0.25  # measured .154: on its way from what the matt paint asks for
    assert float(values[matt, 3].quantile(0.95)) < 0.9
    assert float(values[~matt, 3].mean()) < float(values[matt, 3].mean()) - 0.2


@pytest.mark.parametrize(("light", "flash"), [("octahedral", False), ("sh", False), ("octahedral", True)])
def test_a_fit_continues_from_its_checkpoint_as_if_never_stopped(tmp_path, light, flash):
    pixels, _, _ = photograph(views=4, size_px=40)
    pixels = replace(pixels, distance=1 / pixels.target[:, 0].clamp_min(0.1))
    config = replace(
        CONFIG, light=light, flash=flash, sh_degree=3, steps=16, batch_px=256, checkpoint_steps=8, exposure="on"
    )

    def run(path, stop=16):
        fit = AppearanceFit(pixels, config, texture_px=64, seed=3)

        def progress(part, note):
            if fit.step >= stop:
                raise KeyboardInterrupt

        fit.run(path, progress)
        return fit

    whole = run(tmp_path / "whole", stop=99)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", stop=10)
    resumed = run(tmp_path / "stopped", stop=99)
    assert torch.equal(resumed.maps.bake(), whole.maps.bake())
    for name, parameter in whole.lights[0].parameters.items():
        assert torch.equal(resumed.lights[0].parameters[name], parameter)
    assert torch.equal(resumed.exposure.log_gain, whole.exposure.log_gain)
    assert bool(whole.exposure.log_gain.any())


def test_a_photo_that_is_held_out_is_explained_without_being_learned_from():
    pixels, _, _ = photograph(views=24, size_px=32)
    per_view = torch.arange(len(pixels)) * 24 // len(pixels)
    learned, spared = hold_out(
        replace(pixels, view=per_view.short()), spared_photo(replace(pixels, view=per_view.short()))
    )
    assert spared is not None
    assert len(learned) + len(spared) == len(pixels)
    assert not torch.isin(learned.view, spared.view).any()
    fit = AppearanceFit(learned, CONFIG, texture_px=64, seed=0)
    before = fit.held_out_psnr(spared)
    for _ in range(CONFIG.steps):
        fit.advance()
    told = fit.held_out_psnr(spared)
    assert told > before + 8
    assert told < fit.photo_psnr() + 1
    few = replace(pixels, view=(per_view % 8).short())
    assert spared_photo(few) is None


def test_a_damaged_checkpoint_starts_afresh(tmp_path):
    pixels, _, _ = photograph(views=2, size_px=24)
    config = replace(CONFIG, steps=2, batch_px=256)
    (tmp_path / "checkpoint").write_bytes(b"no tensors")
    fit = AppearanceFit(pixels, config, texture_px=64, seed=0)
    fit.run(tmp_path / "checkpoint", lambda part, note: None)
    assert fit.step == 2


def test_each_pass_has_a_light_of_its_own():
    """Two passes, the second under a bluish light from elsewhere: one light for both explains neither."""
    lights = (studio(), Environment(coefficients=studio().coefficients.flip(0) * BLUISH, basis="octahedral"))
    first, second = (photograph(views=12, size_px=48, light=light)[0] for light in lights)
    index = torch.cat([torch.full((len(p),), k) for k, p in enumerate((first, second))])
    joined = {name: torch.cat([getattr(p, name) for p in (first, second)]) for name in ("uv", "normal", "wo", "target")}
    found = {}
    for name, passes in (("apart", index), ("alike", None)):
        fit = AppearanceFit(Pixels(**joined, light_index=passes), CONFIG, texture_px=64, seed=0)
        for _ in range(CONFIG.steps):
            fit.advance()
        found[name] = fit.photo_psnr()
    assert found["apart"] > found["alike"] + 6


@pytest.mark.parametrize("search", [True, False])
def test_metal_among_paint_is_found_by_the_search_alone(search):
    pixels, _, matt = photograph(views=16, size_px=64, paints=(MATT, GOLD))
    fit = AppearanceFit(pixels, replace(CONFIG, metal_search=search), texture_px=64, seed=0)
    for _ in range(CONFIG.steps):
        fit.advance()
    metallic = fit.maps(pixels.uv)[:, 4]
    assert float(metallic[matt].mean()) < 0.1  # measured .01
    assert (float(metallic[~matt].mean()) > 0.5) == search  # measured .64 with it, .003 without


def test_the_prior_on_metallic_waits_until_photos_can_speak_against_it():
    """Before metals are looked for, nothing is shaded by `metallic`: a prior would drive it to where it sticks."""
    config = replace(CONFIG, metallic_prior=1.0, parsimony=0.0, smoothness=0.0)
    pixels, _, _ = photograph(views=2, size_px=32)
    fit = AppearanceFit(pixels, config, texture_px=64, seed=0)
    for _ in range(fit._search_step):
        fit.advance()
    start = torch.full((len(pixels),), config.start_metallic)
    torch.testing.assert_close(fit.maps(pixels.uv)[:, 4], start)


def test_photos_of_one_exposure_keep_it(fitted):
    assert fitted[0].exposure.drift_ev == 0
    assert 0 < fitted[0].exposure.spread < 0.01  # measured .005


@pytest.mark.parametrize(("size_px", "texture_px"), [(40, 64), (80, 128), (160, 256)])
def test_maps_are_as_large_as_the_photos_detail(size_px, texture_px):
    """The ball is three quarters of a photo wide, and half of its texture's diagonal goes once around a hemisphere."""
    pixels, _, _ = photograph(views=2, size_px=size_px)
    assert resolved_texture_px(pixels, 2048) == texture_px
    assert resolved_texture_px(pixels, 100) == min(100, texture_px)
    assert resolved_texture_px(pixels.batch(slice(1)), 2048) == 2048


@pytest.mark.parametrize(("prior", "low", "high"), [(0.0, 0.27, 0.29), (0.005, 0.29, 0.31), (0.01, 0.295, 0.325)])
def test_noise_makes_metal_too_smooth_without_a_prior(prior, low, high):
    """A sharper lobe under a blurrier light explains noise better; the truth is .3."""
    pixels, _, _ = photograph(paints=(GOLD, GOLD))
    noise = torch.randn(pixels.target.shape, generator=torch.Generator().manual_seed(0))
    noisy = replace(pixels, target=(pixels.target * (1 + 0.1 * noise)).clamp(0, 1))
    config = replace(CONFIG, steps=150, normal_map=False, roughness_prior=prior)
    fit = AppearanceFit(noisy, config, texture_px=64, seed=0, metal=True)
    for _ in range(150):
        fit.advance()
    assert low < float(fit.maps(pixels.uv)[:, 3].mean()) < high
