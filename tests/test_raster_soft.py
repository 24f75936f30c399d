"""The soft mode: its closed forms, and the kernels of the cpu backend against the definition in torch."""

import pytest
import torch

from pipeline.errors import InputError
from pipeline.raster.cpu import CpuRasterizer
from pipeline.raster.soft import Softness, soft_render
from scripts.compare_gradients import SHAPES, compare
from tests.shapes import bumpy_sphere, clip_of

RASTERIZER = CpuRasterizer()


def soup(count, views=1, seed=0):
    """Triangles anywhere: large and small, some behind the camera or beyond the planes; three attributes."""
    generator = torch.Generator().manual_seed(seed)
    center = torch.rand(count, 1, 3, generator=generator, dtype=torch.float64) * torch.tensor([3.0, 3.0, 2.4]) - 1.5
    size = 10 ** (-1.5 * torch.rand(count, 1, 1, generator=generator, dtype=torch.float64))
    ndc = (center + size * (torch.rand(count, 3, 3, generator=generator, dtype=torch.float64) - 0.5)).reshape(-1, 3)
    w = 0.3 + torch.rand(len(ndc), 1, generator=generator, dtype=torch.float64)
    w[::20] *= -1
    clip = torch.cat([ndc * w, w], 1)
    moves = 0.1 * torch.randn(views, 1, 4, generator=generator, dtype=torch.float64)
    attributes = torch.rand(len(ndc), 3, generator=generator, dtype=torch.float64)
    return clip + moves * torch.tensor([1.0, 1.0, 0.3, 0.0]), torch.arange(len(ndc)).reshape(-1, 3), attributes


def ball():
    """Turned, so that no pixel centre is equally far from two edges of a triangle: either would do there."""
    points, faces = bumpy_sphere(12, 20)
    return clip_of(points, torch.tensor([0.03, -0.02, 0.3, 0.05], dtype=torch.float64)), faces, points


SCENES = {"soup": soup(60, views=2), "large soup": soup(300, seed=2), "ball": ball()}
SOFT = {"usual": Softness(), "wide": Softness(sigma_px=2.3, gamma=0.05, reach=2.5)}


def run(soft, scene, softness, dtype, size_px=(30, 37)):
    """The image with its coverage, and the gradients of a weighted sum."""
    clip, faces, attributes = scene
    leaves = clip.to(dtype, copy=True).requires_grad_(), attributes.to(dtype, copy=True).requires_grad_()
    color, alpha = soft(leaves[1], leaves[0], faces, size_px=size_px, softness=softness)
    image = torch.cat([color, alpha[..., None]], -1)
    weights = torch.cos(torch.arange(image.numel(), dtype=torch.float64) * 0.7).reshape(image.shape).to(dtype)
    return image.detach(), torch.autograd.grad((image * weights).sum(), leaves)


@pytest.mark.parametrize("softness", SOFT)
@pytest.mark.parametrize("name", SCENES)
def test_the_kernels_equal_the_definition(name, softness):
    image, gradients = run(RASTERIZER.soft, SCENES[name], SOFT[softness], torch.float64)
    expected, expected_gradients = run(soft_render, SCENES[name], SOFT[softness], torch.float64)
    assert (expected[..., 3] > 0.1).float().mean() > 0.1
    torch.testing.assert_close(image, expected, rtol=1e-9, atol=1e-9)
    for mine, theirs in zip(gradients, expected_gradients, strict=True):
        assert theirs.norm() > 0
        assert (mine - theirs).norm() <= 1e-7 * theirs.norm()


@pytest.mark.parametrize("name", SCENES)
def test_float32_is_computed_in_float64(name):
    clip, faces, attributes = SCENES[name]
    rounded = clip.float().double(), faces, attributes.float().double()
    image, gradients = run(RASTERIZER.soft, rounded, Softness(), torch.float32)
    expected, expected_gradients = run(soft_render, rounded, Softness(), torch.float64)
    assert image.dtype == gradients[0].dtype == torch.float32
    torch.testing.assert_close(image, expected.float(), rtol=1e-5, atol=1e-5)
    for mine, theirs in zip(gradients, expected_gradients, strict=True):
        assert (mine - theirs).norm() <= 1e-4 * theirs.norm()


def test_gradcheck():
    clip, faces, attributes = soup(4, seed=5)
    clip, attributes = clip.requires_grad_(), attributes.requires_grad_()
    softness = Softness(sigma_px=1.5, gamma=0.3, reach=8.0)  # what lies beyond the reach is cut off, a small step

    def render(attributes, clip):
        return RASTERIZER.soft(attributes, clip, faces, size_px=(5, 6), softness=softness)

    assert torch.autograd.gradcheck(render, (attributes, clip))


def test_thread_count_changes_nothing():
    before, results = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        image, gradients = run(RASTERIZER.soft, soup(200, views=2, seed=3), Softness(), torch.float32, (50, 70))
        results.append((image, *gradients))
    torch.set_num_threads(before)
    assert all(torch.equal(one, two) and one.abs().sum() > 0 for one, two in zip(*results, strict=True))


def edge_at(column, depth=0.0, size=8):
    """A huge triangle whose one edge is a column of the image, to its right."""
    x = 2 * column / size - 1
    return torch.tensor([[[x, -9.0, depth, 1], [x, 9, depth, 1], [99, 0, depth, 1]]], dtype=torch.float64)


def test_coverage_beside_an_edge_is_the_sigmoid():
    softness = Softness(sigma_px=1.3)
    _, alpha = RASTERIZER.soft(
        torch.ones(3, 1).double(), edge_at(4.2), torch.tensor([[0, 1, 2]]), size_px=(8, 8), softness=softness
    )
    distance = torch.arange(8, dtype=torch.float64) + 0.5 - 4.2
    expected = torch.sigmoid(distance * distance.abs() / 1.3**2) * (distance > -3 * 1.3)
    torch.testing.assert_close(alpha[0], expected.expand(8, 8))


def test_colours_mix_by_depth():
    """Two surfaces deep inside: their colours and black weigh exp(-depth / gamma)."""
    clip = torch.cat([edge_at(-50, depth) for depth in (0.2, 0.3)], 1)
    attributes = torch.tensor([[1.0, 0], [1, 0], [1, 0], [0, 1], [0, 1], [0, 1]], dtype=torch.float64)
    faces, softness = torch.arange(6).reshape(2, 3), Softness(gamma=0.2)
    color, alpha = RASTERIZER.soft(attributes, clip, faces, size_px=(8, 8), softness=softness)
    shares = torch.exp(-torch.tensor([0.2, 0.3, 1.0], dtype=torch.float64) / (2 * 0.2))
    torch.testing.assert_close(color[0, 4, 4], (shares / shares.sum())[:2])
    torch.testing.assert_close(alpha, torch.ones_like(alpha))


def test_senseless_triangles_are_left_out():
    clip, faces, attributes = soup(20, seed=4)
    bad = clip.clone()
    bad[0, 9:12] = torch.tensor([float("nan"), 0, 0, 1])
    bad[0, 12:15] = bad[0, 12]
    bad[0, 15:18, 3] = 0.0
    kept = torch.cat([faces[:3], faces[6:]])
    for given, wanted in ((faces, kept), (faces[:0], faces[:0])):
        image, gradients = run(RASTERIZER.soft, (bad, given, attributes), Softness(), torch.float64)
        expected, _ = run(RASTERIZER.soft, (bad, wanted, attributes), Softness(), torch.float64)
        assert torch.equal(image, expected)
        assert torch.isfinite(image).all() and all(torch.isfinite(g).all() for g in gradients)


def test_the_gradient_of_coverage_is_nearly_unbiased_on_a_closed_mesh():
    """Coverage of a sphere of 2000 faces against 16 x 16 samples per pixel; the other estimator beside it."""
    found = compare(SHAPES["sphere 2k"](), ["soft, sigma 0.7 px", "antialias, search 32"])
    for error, cosine in found.values():
        assert error <= 0.04  # measured 0.020 and 0.007
        assert cosine >= 0.999


def test_refusals():
    clip, faces, attributes = soup(3)
    with pytest.raises(InputError, match="faces index vertices 1 to 9, there are 9"):
        RASTERIZER.soft(attributes, clip, faces + 1, size_px=(8, 8), softness=Softness())
    with pytest.raises(InputError, match="image of 0 x 8 px"):
        RASTERIZER.soft(attributes, clip, faces, size_px=(0, 8), softness=Softness())
    for name in ("sigma_px", "gamma", "reach"):
        with pytest.raises(InputError, match=f"{name}=0.0 .*must be positive"):
            Softness(**{name: 0.0})
