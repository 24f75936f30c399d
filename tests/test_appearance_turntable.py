"""The appearance fit on a turntable: a lobed body that shadows itself turns under a studio's lamps."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from pipeline.config import AppearanceConfig
from pipeline.geometry.normals import vertex_normals
from pipeline.metrics import psnr
from pipeline.scene import Environment
from pipeline.shading.octahedral import octahedral_from_direction, texel_directions
from pipeline.shading.prefilter import radiance
from pipeline.shading.shade import shade
from pipeline.shading.shadowed_light import bounce_light, shadowed_light
from pipeline.shading.visibility import SurfacePoints, trace_visibility
from pipeline.stages.appearance_fit import AppearanceFit
from pipeline.stages.appearance_light import Shadows
from pipeline.stages.appearance_pixels import Pixels
from tests.shapes import bumpy_sphere

VIEWS = 24
CONFIG = AppearanceConfig(texture_px=64, steps=100, batch_px=2048, light_map_px=32, checkpoint_steps=1000)
PAINTS = torch.tensor([[0.55, 0.22, 0.12, 0.6, 0.0], [0.12, 0.25, 0.5, 0.3, 0.0]])


def about_up(angle):
    sin, cos = math.sin(angle), math.cos(angle)
    return torch.tensor([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])


def studio(light_from_world):
    """Three lamps of 16 degrees to one side in dim surroundings, as a body that turned sees them."""
    lamps = normalize(torch.tensor([[1.0, 0.4, 0.3], [0.2, 0.8, 0.6], [0.6, 0.1, -0.5]]), dim=-1)
    colors = torch.tensor([[6.0, 5.6, 5.2], [4.0, 4.4, 4.8], [3.0, 3.0, 2.8]])
    weight = torch.exp((texel_directions(32) @ light_from_world.mT @ lamps.mT - 1) / 0.04)
    return Environment(coefficients=0.3 + weight @ colors, basis="octahedral")


@pytest.fixture(scope="module")
def turntable():
    """Pixels at the vertices that each photo shows, what the mesh hides, and the true values."""
    vertices, faces = bumpy_sphere(24, 48)
    around = torch.atan2(vertices[:, 2], vertices[:, 0])
    across = vertices[:, [0, 2]].norm(dim=1)
    vertices = (normalize(vertices, dim=1) * (1 + 0.3 * across * torch.cos(4 * around))[:, None]).float()
    normals = vertex_normals(vertices, faces)
    visibility = trace_visibility(vertices, faces, normals)
    uvs = octahedral_from_direction(normalize(vertices, dim=1))
    truth = PAINTS[(around * 3 / math.pi).floor().long() % 2]
    reflectance = truth[:, :3]
    turns = torch.stack([about_up(2 * math.pi * k / VIEWS) for k in range(VIEWS)])
    parts = []
    for k, turn in enumerate(turns):
        eye = turn.mT @ torch.tensor([0.0, 1.0 + 1.5 * (k % 2), 3.5])
        wo = normalize(eye - vertices, dim=1)
        shown = torch.nonzero((wo * normals).sum(1) > 0.15)[:, 0]
        corners, weights = shown[:, None].expand(-1, 3).int(), torch.eye(3)[:1].expand(len(shown), 3)
        surface = SurfacePoints(corners=corners, weights=weights)
        light = studio(turn)
        lit = shadowed_light(light, visibility, surface, bounce_light(light, visibility, reflectance))
        own, at = truth[shown], {"normal": normals[shown], "wo": wo[shown]}
        target = shade(lit, base_color=own[:, :3], roughness=own[:, 3], metallic=own[:, 4], **at).clamp(0, 1)
        parts.append((uvs[shown], at["normal"], at["wo"], target, surface.corners, surface.weights))
    uv, normal, wo, target, corners, weights = (torch.cat(x) for x in zip(*parts, strict=True))
    view = torch.arange(VIEWS, dtype=torch.int16).repeat_interleave(torch.tensor([len(p[0]) for p in parts]))
    surface = SurfacePoints(corners=corners, weights=weights)
    pixels = Pixels(uv=uv, normal=normal, wo=wo, target=target, surface=surface, view=view, light_from_world=turns)
    return pixels, Shadows(visibility=visibility, uvs=uvs, vertices=vertices), truth[corners[:, 0].long()]


def fitted(pixels, config, shadows):
    fit = AppearanceFit(pixels, config, texture_px=config.texture_px, seed=0, shadows=shadows)
    for _ in range(config.steps):
        fit.advance()
    return fit


@pytest.mark.parametrize("light", ["octahedral", "sh"])
def test_the_light_of_a_turntable_stands_still(turntable, light):
    pixels, shadows, truth = turntable
    config = replace(CONFIG, light=light)
    fit, still = (fitted(p, config, shadows) for p in (pixels, replace(pixels, light_from_world=None)))
    assert fit.photo_psnr() > 34  # measured 37.7 and 36.3
    assert fit.photo_psnr() > still.photo_psnr() + 6  # measured 23.2
    colors = [some.maps(pixels.uv)[:, :3].detach() for some in (fit, still)]
    found, baked = (psnr(c * (truth[:, :3].mean(0) / c.mean(0)), truth[:, :3]) for c in colors)
    assert found > 30  # measured 32.6 and 31.7
    assert found > baked + 2  # measured 27.6 and 27.1
    assert fit.exposure.drift_ev == 0
    towards = normalize(torch.tensor([[1.0, 0.4, 0.3], [-1.0, 0.4, -0.3]]), dim=-1)
    lit, dark = radiance(fit.environment, towards).detach()
    assert float(lit.mean()) > 3 * float(dark.mean())  # the lamps are where they were for the first photo
