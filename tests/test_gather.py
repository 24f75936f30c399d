"""The look-up kernel against torch's embedding_bag."""

import pytest
import torch
from torch.nn.functional import embedding_bag

from pipeline.shading.gather import weighted_rows


def inputs(points=3000, corners=4, channels=5, rows=200):
    """A small table, so that many points add to each row's gradient."""
    table = torch.randn(rows, channels, requires_grad=True)
    weights = torch.randn(points, corners, requires_grad=True)
    return table, torch.randint(rows, (points, corners)), weights


@pytest.mark.parametrize("corners", [1, 4, 8])
def test_values_and_derivatives_are_embedding_bags(corners):
    table, index, weights = inputs(corners=corners)
    towards = torch.randn(3000, 5)
    theirs = embedding_bag(index, table, per_sample_weights=weights, mode="sum")
    ours = weighted_rows(table, index, weights)
    # Sums of up to 120 float32 terms of about 1, in another order.
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    for a, b in zip(
        torch.autograd.grad((ours * towards).sum(), (table, weights)),
        torch.autograd.grad((theirs * towards).sum(), (table, weights)),
        strict=True,
    ):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-5)


def test_strided_inputs_are_read_right():
    table, index, weights = inputs()
    turned = weights.detach().mT.contiguous().mT
    whole = weighted_rows(table, index, weights)
    torch.testing.assert_close(weighted_rows(table.detach().mT.contiguous().mT, index, turned), whole)
    wide = torch.cat([index, index], 1)[:, ::2]
    torch.testing.assert_close(weighted_rows(table, wide, turned), weighted_rows(table, wide.contiguous(), weights))


def test_gradients_repeat_to_the_bit():
    table, index, weights = inputs()
    first, second = (torch.autograd.grad(weighted_rows(table, index, weights).sum(), table)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_constants_get_no_gradient_and_no_points_give_no_rows():
    table, index, weights = inputs()
    weighted_rows(table.detach(), index, weights).sum().backward()
    assert table.grad is None
    assert weights.grad is not None
    assert weighted_rows(table, index[:0], weights[:0]).shape == (0, 5)
