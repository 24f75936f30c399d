"""Texture look-ups against torch's own."""

import pytest
import torch
from torch.nn.functional import grid_sample

from pipeline.shading.texture_pyramid import COARSENING, TexturePyramid, bilinear_texels, sample_texture


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


START = torch.tensor([0.6, 0.27])


def random_pyramid(size=32):
    maps = TexturePyramid(size, START)
    for level in maps.levels:
        level.normal_()
    return maps


def test_baking_equals_looking_up_at_texel_centres():
    maps = random_pyramid()
    centre = (torch.arange(32) + 0.5) / 32
    uv = torch.stack(torch.meshgrid(centre, centre, indexing="xy"), -1).reshape(-1, 2)
    torch.testing.assert_close(maps(uv).reshape(32, 32, 2), maps.bake())


def test_a_new_pyramid_is_constant():
    maps = TexturePyramid(64, START)
    torch.testing.assert_close(maps.bake(), START.expand(64, 64, 2))
    torch.testing.assert_close(maps(torch.rand(9, 2)), START.expand(9, 2))


def test_only_touched_texels_learn():
    maps = TexturePyramid(32, START)
    uv = torch.tensor([[0.5, 0.5], [0.1, 0.9]])
    maps.learn(uv, maps(uv), torch.tensor([[1.0, -1.0], [0.1, -0.1]]), rate=0.04)
    moved = maps.levels[0].abs().amax(1) > 0
    assert int(moved.sum()) == 8
    # A first step has full length whatever the gradient; the weights of a look-up sum to 1 on each of three levels.
    torch.testing.assert_close(torch.logit(maps(uv)) - torch.logit(START), torch.tensor([[-0.12, 0.12]] * 2))


def test_learning_equals_its_definition_in_torch():
    ours, theirs = TexturePyramid(64, START), TexturePyramid(64, START)
    for _ in range(20):
        uv, grad = torch.rand(300, 2) * 1.2 - 0.1, torch.randn(300, 2)
        values = ours(uv)
        ours.learn(uv, values, grad, rate=0.05)
        for k, coarsening in enumerate(COARSENING):
            corner, weights = bilinear_texels(uv, 64 // coarsening)
            theirs._learn_level(k, corner, weights, grad * values * (1 - values), 0.05)
    for own, other in zip(ours.levels, theirs.levels, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-3, atol=1e-4)


def test_learning_finds_a_texture():
    truth, maps = random_pyramid(), TexturePyramid(32, START)
    for _ in range(300):
        uv = torch.rand(500, 2)
        values = maps(uv)
        maps.learn(uv, values, 2 * (values - truth(uv)), rate=0.03)
    assert float((maps.bake() - truth.bake()).abs().mean()) < 0.02


def test_a_restored_pyramid_learns_on_as_if_nothing_had_happened():
    maps, other = TexturePyramid(32, START), TexturePyramid(32, START)
    for step in range(10):
        if step == 5:
            other.restore({name: tensor.clone() for name, tensor in maps.state().items()})
        torch.manual_seed(step)
        uv, grad = torch.rand(50, 2), torch.randn(50, 2)
        for one in (maps, other) if step >= 5 else (maps,):
            one.learn(uv, one(uv), grad, rate=0.04)
    assert torch.equal(maps.bake(), other.bake())
