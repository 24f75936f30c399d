"""Texture look-ups against torch's own."""

import pytest
import torch
from torch.nn.functional import grid_sample

from pipeline.shading.texture_pyramid import TexturePyramid, bilinear_texels, sample_texture


def their_sample(texture, uv):
    image, where = texture.permute(2, 0, 1)[None], uv[None, None] * 2 - 1
    return grid_sample(image, where, mode="bilinear", padding_mode="border", align_corners=False)[0, :, 0].mT


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_look_ups_equal_grid_sample_in_value_and_derivatives(dtype):
    texture = torch.rand(16, 16, 3, dtype=dtype, requires_grad=True)
    uv = (torch.rand(500, 2, dtype=dtype) * 1.4 - 0.2).requires_grad_()  # some beyond the border
    weight = torch.rand(500, 3, dtype=dtype)
    results = []
    for sample in (sample_texture, their_sample):
        value = sample(texture, uv)
        results.append((value, *torch.autograd.grad((value * weight).sum(), (texture, uv))))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 if dtype is torch.float32 else 1e-9)


def test_the_first_texel_is_top_left():
    texture = torch.arange(16.0).reshape(4, 4, 1)
    uv = torch.tensor([[0.125, 0.125], [0.875, 0.125], [0.125, 0.875]])
    assert sample_texture(texture, uv)[:, 0].tolist() == [0, 3, 12]


def test_weights_sum_to_one_and_indices_stay_inside():
    corner, weights = bilinear_texels(torch.rand(1000, 2) * 3 - 1, 8)
    torch.testing.assert_close(weights.sum(1), torch.ones(1000))
    assert 0 <= int(corner.min()) <= int(corner.max()) < 64


def random_pyramid(size=32):
    maps = TexturePyramid(size, torch.tensor([0.5, -1.0]))
    for level in maps.levels:
        level.data.normal_()
    return maps


def test_baking_equals_looking_up_at_texel_centres():
    maps = random_pyramid()
    centre = (torch.arange(32) + 0.5) / 32
    uv = torch.stack(torch.meshgrid(centre, centre, indexing="xy"), -1).reshape(-1, 2)
    torch.testing.assert_close(maps(uv).reshape(32, 32, 2), maps.bake())


def test_a_new_pyramid_is_constant():
    maps = TexturePyramid(64, torch.tensor([0.25, 2.0]))
    torch.testing.assert_close(maps.bake(), torch.tensor([0.25, 2.0]).expand(64, 64, 2))


def test_only_touched_texels_get_gradients():
    maps = random_pyramid()
    maps(torch.tensor([[0.5, 0.5], [0.1, 0.9]])).sum().backward()
    assert int((maps.levels[0].grad != 0).any(1).sum()) == 8
    # Weights of a look-up sum to 1, on every level and for each of the two points.
    for level in maps.levels:
        torch.testing.assert_close(level.grad.sum(0), torch.full((2,), 2.0))
