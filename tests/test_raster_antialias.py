"""Antialiasing: blending by coverage, and its gradients against a supersampled render."""

import math

import pytest
import torch

from pipeline.errors import InputError
from pipeline.raster.cpu import CpuRasterizer
from pipeline.raster.cpu.adjacency import BORDER, NON_MANIFOLD
from pipeline.raster.cpu.checks import check_shape
from tests.shapes import bumpy_sphere, clip_of

RASTERIZER = CpuRasterizer()


def weights(size):
    """A smooth image to multiply with: the derivative then lives on the silhouette alone."""
    x = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    return torch.sin(5 * x[None] + 1) + torch.cos(4 * x[:, None] - 2 * x[None]) + 2 * x[:, None]


def coverage_gradient(points, faces, size, search):
    """Gradient of the weighted antialiased mask with respect to the motion."""
    motion = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    clip = clip_of(points, motion)
    raster = RASTERIZER.rasterize(clip, faces, size_px=(size, size))
    mask = RASTERIZER.antialias(raster.mask[..., None].double(), raster, clip, faces, search=search)
    (mask[0, ..., 0] * weights(size)).sum().backward()
    return motion.grad


def supersampled_gradient(points, faces, size, step=0.004):
    """Central differences of the weighted mask, rendered with 16 x 16 samples per pixel; step / 2 is 0.1 pixel."""
    out = []
    for axis in range(4):
        values = []
        for side in (-0.5, 0.5):
            motion = torch.zeros(4, dtype=torch.float64)
            motion[axis] = side * step
            mask = RASTERIZER.rasterize(clip_of(points, motion), faces, size_px=(16 * size, 16 * size)).mask[0]
            image = mask.double().reshape(size, 16, size, 16).mean((1, 3))
            values.append((image * weights(size)).sum())
        out.append((values[1] - values[0]) / step)
    return torch.stack(out)


@pytest.mark.parametrize(("rings", "segments"), [(24, 44), (72, 142)], ids=["2k", "20k"])
def test_gradient_of_coverage_equals_supersampling(rings, segments):
    points, faces = bumpy_sphere(rings, segments)
    expected = supersampled_gradient(points, faces, 96)
    walked = coverage_gradient(points, faces, 96, 32)
    error = (walked - expected).norm() / expected.norm()
    cos = torch.cosine_similarity(walked, expected, dim=0)
    assert error <= 0.06  # measured 0.018 and 0.016
    assert cos >= 0.999
    # The visible triangles' own edges miss most of the silhouette: 0.72 and 0.95.
    own_edges = coverage_gradient(points, faces, 96, 0)
    assert (own_edges - expected).norm() / expected.norm() > 0.5


def px_clip(px, size, w=1.0):
    """Clip positions of corner-based pixels (V, 2), depth 0."""
    ndc = torch.as_tensor(px, dtype=torch.float64) * 2 / torch.tensor(size, dtype=torch.float64) - 1
    return (torch.cat([ndc, torch.zeros(len(ndc), 1), torch.ones(len(ndc), 1)], 1) * w)[None]


def coverage(clip, faces, size, **options):
    """The antialiased mask of one view."""
    raster = RASTERIZER.rasterize(clip, faces, size_px=size)
    return RASTERIZER.antialias(raster.mask[..., None].to(clip.dtype), raster, clip, faces, **options)[0, ..., 0]


QUAD = torch.tensor([[0, 1, 2], [0, 2, 3]])


@pytest.mark.parametrize("search", [0, 4])
def test_axis_aligned_edges_get_their_exact_coverage(search):
    left, right, top, bottom = 2.3, 8.9, 1.75, 5.4
    clip = px_clip([[left, top], [right, top], [right, bottom], [left, bottom]], (12, 8))
    image = coverage(clip, QUAD, (12, 8), search=search)
    expected = torch.zeros(12, dtype=torch.float64)
    expected[2], expected[3:8], expected[8] = 0.7, 1.0, 0.9
    torch.testing.assert_close(image[3], expected)
    rows = torch.zeros(8, dtype=torch.float64)
    rows[1], rows[2:5], rows[5] = 0.25, 1.0, 0.4
    torch.testing.assert_close(image[:, 5], rows)


@pytest.mark.parametrize("angle_deg", [0.0, 7.0, 20.0, 33.0, 44.0, 45.0, 61.0, 88.0])
def test_straight_edges_have_the_gradient_of_their_area(angle_deg):
    angle = math.radians(angle_deg)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], dtype=torch.float64)
    square = torch.tensor([[-1, -1], [1, -1], [1, 1], [-1, 1]], dtype=torch.float64)
    half = torch.tensor(30.0, dtype=torch.float64, requires_grad=True)
    clip = px_clip(torch.zeros(4, 2), (128, 128)) + torch.cat(
        [(square * half) @ turn.mT / 64 + torch.tensor([1.003, 1.007]), torch.zeros(4, 2)], 1
    )
    image = coverage(clip, QUAD, (128, 128))
    image.sum().backward()
    # d(4 half^2) / d half; four corners of half a pixel or so are not straight edges.
    assert float(half.grad) == pytest.approx(8 * 30.0, rel=0.03)
    assert float(image.detach().sum()) == pytest.approx(4 * 30.0**2, rel=2e-3)


def test_gradcheck():
    px = [[2.31, 1.13], [9.2, 2.27], [7.83, 6.41], [1.37, 5.62]]
    clip = (px_clip(px, (12, 8)) * torch.tensor([1.0, 1.3, 0.8, 1.1])[:, None]).requires_grad_()
    color = torch.rand(1, 8, 12, 2, dtype=torch.float64, requires_grad=True)

    def render(color, clip):
        raster = RASTERIZER.rasterize(clip, QUAD, size_px=(12, 8))
        return RASTERIZER.antialias(color, raster, clip, QUAD)

    assert torch.autograd.gradcheck(render, (color, clip))


def test_inner_edges_and_equal_colours_stay_untouched():
    points, faces = bumpy_sphere(16, 30)
    clip = clip_of(points, torch.zeros(4, dtype=torch.float64))
    raster = RASTERIZER.rasterize(clip, faces, size_px=(48, 48))
    color = raster.face_id[..., None].double()
    changed = (RASTERIZER.antialias(color, raster, clip, faces) != color)[0, ..., 0]
    mask = raster.mask[0]
    grown = torch.nn.functional.max_pool2d((~mask)[None].float(), 3, 1, 1)[0].bool()
    shrunk = torch.nn.functional.max_pool2d(mask[None].float(), 3, 1, 1)[0].bool()
    rim = grown & shrunk
    assert changed.any()
    # The sphere is nearly convex: its folds inside the outline are a few pixels.
    assert (changed & ~rim).sum() <= 0.02 * mask.sum()
    flat = torch.full_like(color, 0.25)
    assert torch.equal(RASTERIZER.antialias(flat, raster, clip, faces), flat)


def test_nearer_surface_owns_the_edge():
    behind = px_clip([[0, 0], [8, 0], [8, 8], [0, 8]], (8, 8))
    front = px_clip([[-9, -9], [4.75, -9], [4.75, 17]], (8, 8)) - torch.tensor([0, 0, 0.5, 0])
    clip, faces = torch.cat([behind, front], 1), torch.tensor([[0, 1, 2], [0, 2, 3], [4, 5, 6]])
    raster = RASTERIZER.rasterize(clip, faces, size_px=(8, 8))
    color = (raster.face_id == 2)[..., None].double()
    image = RASTERIZER.antialias(color, raster, clip, faces)[0, ..., 0]
    torch.testing.assert_close(image[4], torch.tensor([1, 1, 1, 1, 0.75, 0, 0, 0], dtype=torch.float64))


def test_thread_count_changes_nothing():
    points, faces = bumpy_sphere(30, 40)
    clip = clip_of(points, torch.zeros(4, dtype=torch.float64)).float()
    clip = torch.cat([clip, clip * torch.tensor([1.1, 0.9, 1, 1])])
    before = torch.get_num_threads()
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        leaf = clip.clone().requires_grad_()
        raster = RASTERIZER.rasterize(leaf, faces, size_px=(64, 64))
        color = torch.linspace(0, 1, 2 * 64 * 64 * 3).reshape(2, 64, 64, 3).requires_grad_()
        image = RASTERIZER.antialias(color, raster, leaf, faces)
        (image**2).sum().backward()
        results.append((image.detach(), leaf.grad, color.grad))
    torch.set_num_threads(before)
    assert all(torch.equal(one, two) for one, two in zip(*results, strict=True))
    assert results[0][1].abs().sum() > 0


def test_topology():
    tetrahedron = torch.tensor([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])
    neighbours = RASTERIZER.topology(tetrahedron).neighbours
    assert (neighbours % 2 == 0).all()
    for f, row in enumerate(neighbours.tolist()):
        assert {n // 2 for n in row} == {0, 1, 2, 3} - {f}
    # Two triangles with one winding each, then a third on the same edge.
    assert RASTERIZER.topology(torch.tensor([[0, 1, 2], [2, 1, 3]])).neighbours.tolist() == [[2, -1, -1], [-1, -1, 0]]
    assert RASTERIZER.topology(torch.tensor([[0, 1, 2], [1, 2, 3]])).neighbours.tolist() == [[3, -1, -1], [-1, -1, 1]]
    fan = RASTERIZER.topology(torch.tensor([[0, 1, 2], [2, 1, 3], [1, 2, 4]])).neighbours
    assert (fan == NON_MANIFOLD).sum() == 3
    assert (fan == BORDER).sum() == 6
    _, faces = bumpy_sphere(20, 30)
    neighbours = RASTERIZER.topology(faces).neighbours
    assert (neighbours >= 0).all()
    assert RASTERIZER.topology(faces[:0]).neighbours.shape == (0, 3)


def test_refusals():
    clip = px_clip([[2, 1], [9, 2], [7, 6], [1, 5]], (12, 8))
    raster = RASTERIZER.rasterize(clip, QUAD, size_px=(12, 8))
    color = torch.zeros(1, 8, 12, 1, dtype=torch.float64)
    with pytest.raises(InputError, match=r"triangles up to 1, there are 1 faces"):
        RASTERIZER.antialias(color, raster, clip, QUAD[:1])
    with pytest.raises(InputError, match=r"triangles up to 1, there are 1 faces"):
        RASTERIZER.interpolate(clip[0], raster, QUAD[:1])
    with pytest.raises(InputError, match="the topology has the shape"):
        RASTERIZER.antialias(color, raster, clip, QUAD, topology=RASTERIZER.topology(QUAD[:1]))
    # The type checker of the test run stands before the other shapes' door.
    with pytest.raises(InputError, match=r"the colour has the shape \(1, 4\), expected \(1, 8\)"):
        check_shape("the colour", color[:, :4].shape[:2], raster.rast.shape[:2])
