"""Derivatives of rasterize and interpolate against finite differences, in float64."""

import dataclasses

import torch

from pipeline.raster.cpu import CpuRasterizer
from pipeline.raster.rasterizer import Raster

RASTERIZER = CpuRasterizer()
SIZE = (9, 7)


def scene(views=2):
    """Two triangles of different w that cover pixels whose centres stay clear of the edges."""
    clip = torch.tensor(
        [[-1.3, -1.1, 0.1, 1.2], [0.93, -0.77, -0.2, 0.9], [0.85, 1.7, 0.5, 2.1], [-1.45, 1.37, 0.2, 1.4]],
        dtype=torch.float64,
    )
    shift = torch.linspace(0, 0.1, views, dtype=torch.float64)[:, None, None] * torch.tensor([0.7, -0.4, 0, 0.3])
    return (clip + shift).requires_grad_(), torch.tensor([[0, 1, 2], [0, 2, 3]])


def test_gradcheck_of_barycentrics():
    clip, faces = scene()
    ids = RASTERIZER.rasterize(clip, faces, size_px=SIZE).face_id
    assert (ids >= 0).float().mean() > 0.3
    assert torch.autograd.gradcheck(lambda c: RASTERIZER.rasterize(c, faces, size_px=SIZE).rast[..., :2], clip)


def test_depth_and_id_carry_no_gradient():
    clip, faces = scene()
    RASTERIZER.rasterize(clip, faces, size_px=SIZE).rast[..., 2:].sum().backward()
    assert (clip.grad == 0).all()


def test_gradcheck_of_interpolation():
    clip, faces = scene()
    raster = RASTERIZER.rasterize(clip, faces, size_px=SIZE)
    attributes = torch.rand(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    uv = raster.rast[..., :2].detach().requires_grad_()

    def interpolate(a, uv):
        rast = torch.cat([uv, raster.rast[..., 2:].detach()], -1)
        return RASTERIZER.interpolate(a, Raster(rast=rast), faces)

    assert torch.autograd.gradcheck(interpolate, (attributes, uv))


def test_the_chain_to_positions():
    clip, faces = scene()
    attributes = torch.rand(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def render(c):
        return RASTERIZER.interpolate(attributes, RASTERIZER.rasterize(c, faces, size_px=SIZE), faces)

    assert torch.autograd.gradcheck(render, clip)


def test_gradients_are_bitwise_equal_for_any_thread_count():
    generator = torch.Generator().manual_seed(3)
    clip = torch.randn(2, 600, 4, generator=generator) * torch.tensor([1, 1, 0.3, 0]) + torch.tensor([0, 0, 0, 1.0])
    faces = torch.arange(600).reshape(-1, 3)
    values = torch.rand(600, 3, generator=generator)
    before = torch.get_num_threads()
    gradients = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        leaves = clip.clone().requires_grad_(), values.clone().requires_grad_()
        raster = RASTERIZER.rasterize(leaves[0], faces, size_px=(64, 48))
        (RASTERIZER.interpolate(leaves[1], raster, faces) ** 2).sum().backward()
        gradients.append([leaf.grad for leaf in leaves])
    torch.set_num_threads(before)
    assert all(torch.equal(one, two) and one.abs().sum() > 0 for one, two in zip(*gradients, strict=True))


def test_attributes_alone_or_positions_alone():
    clip, faces = scene()
    raster = RASTERIZER.rasterize(clip.detach(), faces, size_px=SIZE)
    attributes = torch.ones(4, 1, dtype=torch.float64, requires_grad=True)
    RASTERIZER.interpolate(attributes, raster, faces).sum().backward()
    # The weights of a pixel sum to one.
    torch.testing.assert_close(attributes.grad.sum(), raster.mask.double().sum())


def test_a_cropped_or_detached_raster_keeps_its_own_gradient():
    clip = torch.tensor([[[-1.0, -1, 0, 1], [1, -1, 0, 1.2], [0, 1, 0, 1]]], requires_grad=True)
    faces, weights = torch.tensor([[0, 1, 2]]), torch.arange(3.0)
    raster = RASTERIZER.rasterize(clip, faces, size_px=(8, 8))
    cropped = dataclasses.replace(raster, rast=raster.rast[:, 3:])
    of_crop = RASTERIZER.interpolate(torch.eye(3), cropped, faces)
    of_whole = RASTERIZER.interpolate(torch.eye(3), raster, faces)[:, 3:]
    slopes = [torch.autograd.grad((x * weights).sum(), clip, retain_graph=True)[0] for x in (of_crop, of_whole)]
    torch.testing.assert_close(*slopes)
    detached = dataclasses.replace(raster, rast=raster.rast.detach())
    assert not RASTERIZER.interpolate(torch.eye(3), detached, faces).requires_grad
