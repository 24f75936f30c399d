"""Vertices moved by the photos and the textures of the fit: a dented ball comes out round, and nothing else changes."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from pipeline.stages.appearance import fit_appearance
from tests.stage_context import make_context
from tests.test_appearance_poses import CONFIG, blank, exact, fitted  # noqa: F401 - fixtures

SETTINGS = {"poses": "off", "steps": 100, "vertex_steps": 100}
HALF_WAY = "step 60,"  # the vertices have moved by then


@pytest.fixture(scope="module")
def dented(blank):  # noqa: F811
    """The ball with dents and bumps of 1 % of its diameter."""
    ball = blank.mesh.vertices
    bumps = 0.02 * torch.sin(5 * ball[:, :1]) * torch.cos(4 * ball[:, 1:2] + 3 * ball[:, 2:])
    return replace(blank, mesh=replace(blank.mesh, vertices=(1 + bumps) * ball, normals=ball))


@pytest.fixture(scope="module")
def moved(exact, dented, tmp_path_factory):  # noqa: F811
    return fitted(exact, dented, tmp_path_factory.mktemp("moved"), **SETTINGS)


def off_round(mesh):
    return float((mesh.vertices.norm(dim=1) - 1).abs().mean())


def test_dents_go_and_the_fit_gains(moved, exact, dented, tmp_path):  # noqa: F811
    asset, figures, _ = moved
    left, without, _ = fitted(exact, dented, tmp_path, **SETTINGS | {"vertex_steps": 0})
    assert torch.equal(left.mesh.vertices, dented.mesh.vertices)
    assert off_round(asset.mesh) < 0.4 * off_round(dented.mesh)  # measured .29
    assert figures["photo_psnr"] > without["photo_psnr"] + 1  # measured 2 dB


def test_triangles_texture_coordinates_and_sides_stay(moved, dented):
    mesh = moved[0].mesh
    assert torch.equal(mesh.faces, dented.mesh.faces)
    assert torch.equal(mesh.uvs, dented.mesh.uvs)
    assert mesh.normals is not None
    assert float((mesh.normals * normalize(mesh.vertices, dim=1)).sum(1).min()) > 0.9


def test_a_fit_with_moved_vertices_continues_as_if_never_stopped(moved, exact, dented, tmp_path):  # noqa: F811
    context, _ = make_context(tmp_path)

    def progress(part, note):
        if note.startswith(HALF_WAY):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_appearance(exact, dented, replace(CONFIG, **SETTINGS), replace(context, progress=progress))
    resumed, _, _ = fitted(exact, dented, tmp_path, **SETTINGS)
    assert torch.equal(resumed.mesh.vertices, moved[0].mesh.vertices)
    assert torch.equal(resumed.material.base_color, moved[0].material.base_color)


def test_without_outlines_vertices_stay(exact, dented, tmp_path):  # noqa: F811
    boxes = replace(exact, outlined=False)
    asset, _, _ = fitted(boxes, dented, tmp_path, **SETTINGS | {"steps": 60})
    assert torch.equal(asset.mesh.vertices, dented.mesh.vertices)
