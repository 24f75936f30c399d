"""Textures: filters against torch's grid_sample and closed forms, and their derivatives."""

import math

import pytest
import torch
from torch.nn.functional import grid_sample, normalize

from pipeline.errors import InputError
from pipeline.raster.cpu import CpuRasterizer
from pipeline.raster.rasterizer import Sampling

RASTERIZER = CpuRasterizer()
CLAMP = Sampling(wrap=False)
MIP = Sampling(filtering="mip")


def random_uv(count=1, low=-0.3, high=1.3):
    """Coordinates in and around the texture."""
    return torch.rand(count, 9, 11, 2, dtype=torch.float64) * (high - low) + low


@pytest.mark.parametrize("filtering", ["nearest", "linear"])
def test_filters_equal_grid_sample(filtering):
    maps = torch.rand(2, 6, 8, 3, dtype=torch.float64, requires_grad=True)
    uv = random_uv(2).requires_grad_()
    ours = RASTERIZER.texture(maps, uv, sampling=Sampling(filtering=filtering, wrap=False))
    mode = "bilinear" if filtering == "linear" else "nearest"
    theirs = grid_sample(maps.permute(0, 3, 1, 2), uv * 2 - 1, mode=mode, padding_mode="border", align_corners=False)
    torch.testing.assert_close(ours, theirs.permute(0, 2, 3, 1))
    weights = torch.rand_like(ours)
    grads = torch.autograd.grad((ours * weights).sum(), (maps, uv))
    expected = torch.autograd.grad((theirs.permute(0, 2, 3, 1) * weights).sum(), (maps, uv))
    torch.testing.assert_close(grads, expected)


def test_wrapping_equals_a_tiled_texture():
    maps = torch.rand(1, 4, 8, 2, dtype=torch.float64)
    uv = random_uv()
    tiled = RASTERIZER.texture(maps.tile(1, 3, 3, 1), (uv + 1) / 3, sampling=CLAMP)
    torch.testing.assert_close(RASTERIZER.texture(maps, uv), tiled)
    torch.testing.assert_close(RASTERIZER.texture(maps, uv + 5), tiled)


def test_mask_and_senseless_coordinates():
    maps = torch.ones(1, 4, 4, 1, dtype=torch.float64, requires_grad=True)
    uv = random_uv()
    uv[0, 0, 0] = float("nan")
    uv[0, 0, 1] = float("inf")
    mask = torch.rand(1, 9, 11) < 0.5
    out = RASTERIZER.texture(maps, uv, mask=mask)
    assert torch.equal(out[..., 0] > 0.5, mask)
    assert (out[~mask] == 0).all()
    out.sum().backward()
    assert float(maps.grad.sum()) == pytest.approx(int(mask.sum()))


def derivatives_of(scale, count=1):
    """Constant screen derivatives, anisotropic and sheared."""
    change = torch.tensor([[1.0, 0.3], [-0.2, 0.8]], dtype=torch.float64) * scale
    return change.expand(count, 9, 11, 2, 2).clone()


@pytest.mark.parametrize(("texels", "level"), [(0.5, 0), (1, 0), (2, 1), (4, 2), (1000, 3)])
def test_whole_mip_levels_equal_the_box_filtered_texture(texels, level):
    maps = torch.rand(1, 8, 16, 2, dtype=torch.float64)
    uv = random_uv()
    # A pixel of `texels` x `texels` texels: both singular values are that number.
    change = torch.diag(torch.tensor([texels / 16, texels / 8], dtype=torch.float64)).expand(1, 9, 11, 2, 2)
    size = 2**level
    boxed = maps.unflatten(2, (-1, size)).unflatten(1, (-1, size)).mean((2, 4))
    options = Sampling(filtering="mip", max_level=3)
    got = RASTERIZER.texture(maps, uv, derivatives=change, sampling=options)
    torch.testing.assert_close(got, RASTERIZER.texture(boxed, uv))


def test_level_comes_from_the_larger_singular_value():
    ramp = torch.arange(4, dtype=torch.float64)
    change = derivatives_of(0.11)
    jacobian = change[0, 0, 0] * torch.tensor([[16.0], [8.0]], dtype=torch.float64)
    expected = math.log2(float(torch.linalg.svdvals(jacobian)[0]))
    from pipeline.raster.cpu.texturing import level_of_detail

    got = level_of_detail(change, 16, 8)
    torch.testing.assert_close(got, torch.full_like(got, expected))
    assert 0 < expected < len(ramp)


def test_gradcheck_with_mip_levels():
    maps = torch.rand(2, 8, 4, 2, dtype=torch.float64, requires_grad=True)
    uv = random_uv(2)[:, :3, :4].contiguous().requires_grad_()
    change = (derivatives_of(0.3, 2)[:, :3, :4] * torch.rand(2, 3, 4, 1, 1).double()).requires_grad_()

    def read(maps, uv, change):
        return RASTERIZER.texture(maps, uv, derivatives=change, sampling=MIP)

    assert torch.autograd.gradcheck(read, (maps, uv, change))


def test_cube_map_of_directions_returns_them():
    # Each texel holds the direction of its centre; reading it gives the direction up to the size of a texel.
    from pipeline.raster.cpu.texels import CUBE_AXES

    side = 32
    s = (torch.arange(side, dtype=torch.float64) + 0.5) / side * 2 - 1
    st = torch.stack([*torch.meshgrid(s, s, indexing="xy"), torch.ones(side, side, dtype=torch.float64)], -1)
    maps = normalize(torch.einsum("yxi,fij->fyxj", st, torch.from_numpy(CUBE_AXES)), dim=-1)[None]
    directions = normalize(torch.randn(1, 60, 50, 3, dtype=torch.float64), dim=-1)
    out = RASTERIZER.texture_cube(maps, directions * 3)
    assert (out - directions).norm(dim=-1).max() < 1.5 / side
    # OpenGL's table: s, t of +x grow along -z, -y.
    first = RASTERIZER.texture_cube(maps, torch.tensor([[[[1.0, 0.9, 0.9]]]], dtype=torch.float64))
    torch.testing.assert_close(first[0, 0, 0], maps[0, 0, 1, 1], atol=0.05, rtol=0)


def test_cube_maps_are_continuous_across_edges_and_differentiable():
    maps = torch.rand(1, 6, 4, 4, 2, dtype=torch.float64, requires_grad=True)
    angle = torch.linspace(0, 2 * math.pi, 20001, dtype=torch.float64)
    around = torch.stack([angle.cos(), 0.3 * torch.ones_like(angle), angle.sin()], -1)[None, None]
    values = RASTERIZER.texture_cube(maps, around)[0, 0]
    assert (values[1:] - values[:-1]).abs().max() < 4e-3
    directions = torch.randn(1, 4, 5, 3, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda m, d: RASTERIZER.texture_cube(m, d), (maps, directions))
    change = 0.4 * torch.randn(1, 4, 5, 3, 2, dtype=torch.float64)
    blurred = RASTERIZER.texture_cube(maps, directions, derivatives=100 * change, sampling=MIP)
    assert (blurred.std((0, 1, 2)) < RASTERIZER.texture_cube(maps, directions).std((0, 1, 2))).all()


def test_interpolated_derivatives_equal_differences_between_pixels():
    clip = torch.tensor(
        [[[-1.3, -1.1, 0.1, 1.2], [1.9, -1.7, -0.2, 0.9], [1.1, 1.9, 0.5, 2.1], [-1.4, 1.3, 0.2, 1.4]]],
        dtype=torch.float64,
    )
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    uvs = torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1]], dtype=torch.float64, requires_grad=True)
    fine = 1001
    raster = RASTERIZER.rasterize(clip, faces, size_px=(fine, fine), derivatives=True)
    uv = RASTERIZER.interpolate(uvs, raster, faces)
    change = RASTERIZER.interpolate_derivatives(uvs, raster, faces)
    ids = raster.face_id
    right = (ids[:, :, 2:] == ids[:, :, 1:-1]) & (ids[:, :, :-2] == ids[:, :, 1:-1]) & (ids[:, :, 1:-1] >= 0)
    down = (ids[:, 2:] == ids[:, 1:-1]) & (ids[:, :-2] == ids[:, 1:-1]) & (ids[:, 1:-1] >= 0)
    across = (uv[:, :, 2:] - uv[:, :, :-2]) / 2
    along = (uv[:, 2:] - uv[:, :-2]) / 2
    torch.testing.assert_close(change[:, :, 1:-1, :, 0][right], across[right], atol=1e-8, rtol=1e-4)
    torch.testing.assert_close(change[:, 1:-1, :, :, 1][down], along[down], atol=1e-8, rtol=1e-4)
    assert (change[~raster.mask] == 0).all()
    change.sum().backward()
    assert uvs.grad.abs().sum() > 0


def test_thread_count_changes_nothing():
    uv, maps, change = random_uv(2).float(), torch.rand(1, 8, 8, 3), derivatives_of(0.2, 2).float()
    before = torch.get_num_threads()
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        leaves = [x.clone().requires_grad_() for x in (maps, uv, change)]
        out = RASTERIZER.texture(leaves[0], leaves[1], derivatives=leaves[2], sampling=MIP)
        (out**2).sum().backward()
        results.append([out.detach(), *(leaf.grad for leaf in leaves)])
    torch.set_num_threads(before)
    assert all(torch.equal(one, two) for one, two in zip(*results, strict=True))


def test_refusals():
    maps, uv = torch.rand(2, 6, 4, 1), random_uv(3).float()
    with pytest.raises(InputError, match="2 textures for 3 views"):
        RASTERIZER.texture(maps, uv)
    with pytest.raises(InputError, match="need screen derivatives"):
        RASTERIZER.texture(maps[:1], uv, sampling=MIP)
    with pytest.raises(InputError, match="4 x 6 texels has no mip level 2"):
        deep = Sampling(filtering="mip", max_level=2)
        RASTERIZER.texture(maps[:1], uv, derivatives=derivatives_of(0.1, 3).float(), sampling=deep)
    clip, faces = torch.rand(1, 3, 4), torch.tensor([[0, 1, 2]])
    raster = RASTERIZER.rasterize(clip, faces, size_px=(4, 4))
    with pytest.raises(InputError, match="derivatives=True"):
        RASTERIZER.interpolate_derivatives(clip[0], raster, faces)
