"""The normal map of a fit: relief that the mesh lacks is found from its reflections, and print is not taken for it."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from pipeline.config import AppearanceConfig
from pipeline.geometry.tangents import mikktspace_tangents
from pipeline.raster.cpu.backend import CpuRasterizer
from pipeline.scene import Mesh
from pipeline.shading.normal_mapping import mapped_normals
from pipeline.shading.prefilter import prefilter
from pipeline.shading.shade import shade
from pipeline.stages.appearance_fit import AppearanceFit
from pipeline.stages.appearance_normals import NormalDetail
from tests.test_appearance_fit import CONFIG, GLOSSY, GOLD, MATT, photograph, studio

RELIEF = replace(CONFIG, steps=160, parsimony=0.0, metal_search=False)


def degrees(first, second):
    return torch.rad2deg(torch.acos((first * second).sum(1).clamp(-1, 1)))


def embossed(pixels, paint, steepness=8):
    """The pixels of a ball of one paint with waves that the mesh does not have, in degrees, and its true normals."""
    around = torch.atan2(pixels.normal[:, 0], pixels.normal[:, 2])
    east = normalize(torch.stack([pixels.normal[:, 2], 0 * around, -pixels.normal[:, 0]], 1), dim=1)
    normal = normalize(pixels.normal + math.tan(math.radians(steepness)) * torch.sin(6 * around)[:, None] * east, dim=1)
    color = shade(
        prefilter(studio()),
        base_color=paint[:3].expand_as(normal),
        roughness=paint[3].expand(len(normal)),
        metallic=paint[4].expand(len(normal)),
        normal=normal,
        wo=pixels.wo,
    )
    return replace(pixels, target=color.clamp(0, 1)), normal


def shown(fit, pixels):
    return normalize(pixels.normal + fit.normals.bends(fit.normals.texture(pixels.uv)), dim=1)


def fitted(pixels, config, *, metal=False):
    fit = AppearanceFit(pixels, config, texture_px=64, seed=0, metal=metal)
    for _ in range(config.steps):
        fit.advance()
    return fit


def test_metal_bends_as_far_as_its_reflections_say():
    """A dielectric's settings would leave two thirds of this relief."""
    pixels, _, _ = photograph(views=24, size_px=64)
    pixels, truth = embossed(pixels, GOLD, steepness=20)
    before = float(degrees(pixels.normal, truth).mean())
    fit = fitted(pixels, RELIEF, metal=True)
    assert float(degrees(shown(fit, pixels), truth).mean()) < 0.4 * before


def test_relief_that_the_mesh_lacks_is_found_from_reflections():
    pixels, _, _ = photograph(views=24, size_px=64)
    pixels, truth = embossed(pixels, GLOSSY)
    before = float(degrees(pixels.normal, truth).mean())
    fit = fitted(pixels, RELIEF)
    assert float(degrees(shown(fit, pixels), truth).mean()) < 0.75 * before
    flat = fitted(pixels, replace(RELIEF, normal_map=False))
    assert fit.photo_psnr() > flat.photo_psnr() + 1


def test_print_is_not_taken_for_relief():
    pixels, _, _ = photograph(views=24, size_px=64, paints=(MATT, GLOSSY))
    fit = fitted(pixels, CONFIG)
    assert float(degrees(shown(fit, pixels), pixels.normal).mean()) < 1.0


@pytest.mark.parametrize("mirrored", [False, True])
def test_readers_of_the_map_see_the_normals_that_were_fitted(mirrored):
    """A tilted square, its texture upright or mirrored, bends everywhere by the same vector of the world."""
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 0.8, 0.6], [0, 0.8, 0.6]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    uvs = torch.tensor([[0.1, 0.9], [0.9, 0.9], [0.9, 0.1], [0.1, 0.1]])
    if mirrored:
        uvs[:, 0] = 1 - uvs[:, 0]
    mesh = Mesh(vertices=vertices, faces=faces, uvs=uvs, uv_faces=faces)
    normals = normalize(torch.tensor([[0.0, -0.6, 0.8]]), dim=1).expand(4, 3).contiguous()
    detail = NormalDetail(32, AppearanceConfig(), torch.device("cpu"))
    bend = torch.tensor([0.15, 0.1, -0.05])
    detail.texture.levels[2] += torch.logit(0.5 + bend / detail.bends(torch.ones(3)) / 2)
    seen = torch.ones(32, 32, dtype=torch.bool)
    seen[:, 16:] = False
    stored = detail.tangent_map(mesh, normals, seen, CpuRasterizer())
    tangent = mikktspace_tangents(mesh, normals)[0, :1]
    read = mapped_normals(normals[:1], tangent, stored[16, 8][None])
    assert float(degrees(read, normalize(normals[:1] + bend, dim=1))) < 0.05
    unseen = mapped_normals(normals[:1], tangent, stored[16, 24][None])
    assert float(degrees(unseen, normals[:1])) < 0.05
    assert torch.equal(stored[0, 0], torch.tensor([0.5, 0.5, 1.0]))
