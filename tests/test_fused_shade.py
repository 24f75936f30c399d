"""Shading kernels against their definition in torch: values and every gradient."""

import dataclasses

import pytest
import torch
from torch.nn.functional import normalize

from pipeline.scene import Environment, Mesh
from pipeline.shading.fused import fused_shade, fused_visible_share
from pipeline.shading.gather import transfer
from pipeline.shading.prefilter import prefilter
from pipeline.shading.shade import shade, shade_eager
from pipeline.shading.shadowed_light import ShadowedLight, bounce_light, shadowed_light
from pipeline.shading.visibility import LOBES, surface_points, trace_visibility
from tests.shapes import sphere

COUNT = 4000


def light(basis):
    generator = torch.Generator().manual_seed(1)
    if basis == "sh":
        return Environment(coefficients=torch.rand(81, 3, generator=generator), basis="sh")
    return Environment(coefficients=torch.randn(128 * 128, 3, generator=generator).exp(), basis="octahedral")


def points(count=COUNT):
    """Random materials, normals and views: some seen from behind, some rougher or smoother than any level."""
    generator = torch.Generator().manual_seed(0)

    def rand(*shape):
        return torch.rand(*shape, generator=generator)

    normal = normalize(torch.randn(count, 3, generator=generator), dim=-1)
    wo = normalize(torch.randn(count, 3, generator=generator) + normal, dim=-1)
    return [x.requires_grad_() for x in (rand(count, 3), rand(count), rand(count), normal, wo)]


def gradients(shading, weights, leaves):
    out = shading()
    return [out.detach(), *torch.autograd.grad((out * weights).sum(), leaves)]


def assert_alike(ours, definition, relative):
    for one, other in zip(ours, definition, strict=True):
        assert (one - other).norm() <= relative * other.norm()


@pytest.mark.parametrize("basis", ["octahedral", "sh"])
def test_the_kernel_is_the_definition_in_the_open(basis):
    inputs, weights = points(), torch.randn(COUNT, 3, generator=torch.Generator().manual_seed(2))
    filtered = prefilter(light(basis))
    table = filtered.table.detach().requires_grad_()
    filtered = dataclasses.replace(filtered, table=table)
    leaves = [table, *inputs]
    ours = gradients(lambda: fused_shade(filtered, None, tuple(inputs)), weights, leaves)
    definition = gradients(lambda: shade_eager(filtered, *inputs), weights, leaves)
    assert_alike(ours, definition, 2e-5)  # float32 sums in another order; measured 5e-6


@pytest.fixture(scope="module")
def cup():
    """Two spheres that shade each other, their visibility, and points on them."""
    vertices, faces = sphere(17)
    both = torch.cat([vertices, vertices * 0.5 + torch.tensor([1.2, 0.3, 0.0])]).float()
    both_faces = torch.cat([faces, faces + len(vertices)])
    normals = normalize(torch.cat([vertices, vertices]), dim=-1).float()
    return both, both_faces, trace_visibility(both, both_faces, normals)


def test_the_kernel_is_the_definition_in_the_shade(cup):
    vertices, faces, visibility = cup
    inputs, weights = points(), torch.randn(COUNT, 3, generator=torch.Generator().manual_seed(2))
    generator = torch.Generator().manual_seed(3)
    corners = torch.rand(COUNT, 3, generator=generator)
    at = surface_points(
        Mesh(vertices=vertices, faces=faces),
        torch.randint(len(faces), (COUNT,), generator=generator),
        (corners / corners.sum(1, keepdim=True))[:, :2],
    )
    environment = light("octahedral")
    bounce = bounce_light(environment, visibility, torch.full((len(vertices), 3), 0.5))
    coefficients = environment.coefficients.requires_grad_()

    def scene() -> ShadowedLight:
        return shadowed_light(Environment(coefficients=coefficients, basis="octahedral"), visibility, at, bounce)

    kwargs = dict(zip(("base_color", "roughness", "metallic", "normal", "wo"), inputs, strict=True))
    ours = gradients(lambda: shade(scene(), **kwargs), weights, [coefficients, *inputs])
    definition = gradients(lambda: shade_eager(scene(), *inputs), weights, [coefficients, *inputs])
    assert_alike(ours, definition, 2e-5)
    with torch.no_grad():
        share, _, _ = scene().at_mirrored(inputs[3], inputs[4], inputs[1])
    assert 0.1 < float((share < 0.9).float().mean()) < 0.9  # the test is about shade


def test_visible_shares_stay_within_0_and_1(cup):
    _, _, visibility = cup
    _, roughness, _, normal, wo = points(500)
    corners = torch.randint(len(visibility.ambient), (500, 3), generator=torch.Generator().manual_seed(4))
    weights = torch.full((500, 3), 1 / 3)
    share = fused_visible_share(visibility.specular, LOBES, (corners, weights), (normal, wo, roughness))
    assert float(share.min()) >= 0
    assert float(share.max()) <= 1 + 1e-5


def test_values_that_are_not_numbers_spoil_their_own_point_only():
    inputs = [x.detach() for x in points(8)]
    clean = fused_shade(prefilter(light("octahedral")), None, tuple(inputs))
    for k in (1, 3, 4):
        spoiled = [x.clone() for x in inputs]
        spoiled[k][2] = float("nan")
        out = fused_shade(prefilter(light("octahedral")), None, tuple(spoiled))
        others = [0, 1, 3, 4, 5, 6, 7]
        assert torch.equal(out[others], clean[others])


def test_narrow_products_and_their_gradient():
    generator = torch.Generator().manual_seed(0)
    matrix, vectors = torch.rand(333, 256, generator=generator), torch.rand(256, 3, generator=generator)
    vectors.requires_grad_()
    weights = torch.rand(333, 3, generator=generator)
    out = transfer(matrix, vectors)
    torch.testing.assert_close(out, matrix @ vectors)
    (slope,) = torch.autograd.grad((out * weights).sum(), vectors)
    torch.testing.assert_close(slope, matrix.mT @ weights)


def test_thread_count_changes_nothing():
    inputs, weights = points(), torch.randn(COUNT, 3, generator=torch.Generator().manual_seed(2))
    filtered = prefilter(light("octahedral"))
    table = filtered.table.detach().requires_grad_()
    filtered = dataclasses.replace(filtered, table=table)
    before, results = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        results.append(gradients(lambda: fused_shade(filtered, None, tuple(inputs)), weights, [table, *inputs]))
    torch.set_num_threads(before)
    assert all(torch.equal(one, two) for one, two in zip(*results, strict=True))
