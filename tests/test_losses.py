"""Losses and priors."""

import pytest
import torch

from pipeline.losses import SATURATED, log_srgb_difference, photometric_loss, sign_loss, white_light_loss
from pipeline.shading.parsimony import parsimony_eager, parsimony_loss


def paints(*colors, count=60, noise=0.0):
    base_color = torch.tensor(colors).repeat_interleave(count // len(colors), 0)
    return (base_color * torch.exp(noise * torch.randn(count, 3))).clamp(0, 1)


RED, BLUE, GREY = (0.6, 0.1, 0.1), (0.1, 0.15, 0.5), (0.3, 0.3, 0.3)


def test_equal_colours_cost_nothing_and_others_do():
    target = torch.rand(50, 3)
    assert float(photometric_loss(target, target)) == 0
    assert float(photometric_loss(target * 1.1, target * 0.9)) > 0


def test_a_saturated_photo_asks_for_at_least_its_brightness():
    target = torch.tensor([[1.0, SATURATED, 0.5]])
    brighter = torch.tensor([[3.0, 2.0, 0.5]], requires_grad=True)
    loss = photometric_loss(brighter, target)
    assert float(loss.detach()) == 0
    assert (torch.autograd.grad(loss, brighter)[0][0, :2] == 0).all()
    darker = torch.tensor([[0.5, 0.5, 0.5]], requires_grad=True)
    (gradient,) = torch.autograd.grad(photometric_loss(darker, target), darker)
    assert (gradient[0, :2] < 0).all()  # brighter is better
    just_below = torch.tensor([[SATURATED - 0.01] * 3])
    assert float(photometric_loss(2 * just_below, just_below)) > 0


def test_differences_count_for_the_eye():
    """A tenth of a dark value and of a bright one weigh the same within a factor of three, not as 1 to 25."""
    dark, bright = torch.full((1, 3), 0.02), torch.full((1, 3), 0.5)
    ratio = photometric_loss(1.1 * bright, bright) / photometric_loss(1.1 * dark, dark)
    assert 1 < float(ratio) < 5  # (.5 / .02)^(1 / 2.2) = 4.3


def test_gradients_are_finite_at_black():
    predicted = torch.zeros(4, 3, requires_grad=True)
    loss = photometric_loss(predicted, torch.zeros(4, 3)) + photometric_loss(predicted, torch.rand(4, 3))
    assert torch.autograd.grad(loss, predicted)[0].isfinite().all()
    like = torch.zeros(4, 2, requires_grad=True)
    entropy, unlike = parsimony_loss(predicted, like, sigma=0.25)
    for gradient in torch.autograd.grad(entropy + unlike, (predicted, like)):
        assert gradient.isfinite().all()


def test_the_kernel_equals_its_definition_in_value_and_derivatives():
    base_color, like = torch.rand(200, 3, requires_grad=True), torch.rand(200, 2, requires_grad=True)
    results = []
    for losses in (
        parsimony_loss(base_color, like, sigma=0.3),
        parsimony_eager(torch.log(base_color + 0.03), like, sigma=0.3),
    ):
        results.append((*losses, *torch.autograd.grad(0.7 * losses[0] + 0.3 * losses[1], (base_color, like))))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-7)


def test_fewer_paints_have_less_entropy():
    like = torch.zeros(60, 2)
    one, two, three = (
        parsimony_loss(paints(*c), like, sigma=0.25)[0] for c in ((RED,), (RED, BLUE), (RED, BLUE, GREY))
    )
    # Renyi's entropy of n distinct equal shares is log n.
    assert [float(one), float(two), float(three)] == pytest.approx([0, 0.6931, 1.0986], abs=0.02)
    noisy = parsimony_loss(paints(RED, BLUE, noise=0.3), like, sigma=0.25)[0]
    assert float(noisy) > float(two) + 0.1


def test_brightness_does_not_change_the_entropy_of_bright_paints():
    like = torch.zeros(60, 2)
    bright, half = (
        parsimony_loss(s * paints(RED, GREY, noise=0.1), like, sigma=0.25)[0]
        for s in (torch.tensor(1.0), torch.tensor(0.5))
    )
    assert float(half) == pytest.approx(float(bright), abs=0.25)  # noise differs, and .03 is added before the logarithm


def test_equal_paint_asks_for_equal_roughness_and_other_paint_does_not():
    sides = torch.tensor([[0.2, 0.0], [0.8, 0.0]]).repeat_interleave(30, 0)
    same, other = (parsimony_loss(paints(*c), sides, sigma=0.25)[1] for c in ((RED, RED), (RED, BLUE)))
    assert float(same) == pytest.approx(0.3, abs=0.01)  # half of all pairs differ by .6
    assert float(other) < 0.01


def test_white_light_costs_nothing_and_a_cast_does_at_any_brightness():
    light = torch.rand(100, 1).expand(100, 3)
    assert float(white_light_loss(light)) == pytest.approx(0, abs=1e-6)
    cast = light * torch.tensor([1.2, 1.0, 0.8])
    assert float(white_light_loss(cast)) == pytest.approx(0.4 / 3, rel=1e-4)
    assert float(white_light_loss(10 * cast)) == pytest.approx(0.4 / 3, rel=1e-4)


def test_the_logarithmic_loss_has_no_upper_limit():
    """Values of sRGB(log(1 + x)) from the standard's formula, in double precision."""
    predicted, target = torch.tensor([[0.0, 0.5, 9.0]]), torch.tensor([[0.001, 0.5, 99.0]])
    low, high, higher = (
        12.92 * 0.0009995003,
        1.055 * 2.302585093 ** (1 / 2.4) - 0.055,
        1.055 * 4.605170186 ** (1 / 2.4) - 0.055,
    )
    torch.testing.assert_close(
        log_srgb_difference(predicted, target), torch.tensor([(low + higher - high) / 3]), rtol=1e-4, atol=0
    )


def test_the_sign_loss_is_the_cross_entropy_with_the_other_end():
    inside, outside = -torch.rand(40), torch.rand(40)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits
    expected = entropy(-inside, torch.zeros(40)) + entropy(-outside, torch.ones(40))
    torch.testing.assert_close(sign_loss(torch.stack([inside, outside])), expected)
    torch.testing.assert_close(sign_loss(torch.stack([outside, inside])), expected)
