"""Figures of merit."""

import pytest
import torch

from pipeline.metrics import psnr


def test_psnr_of_a_known_error():
    reference = torch.rand(40, 3)
    assert psnr(reference + 0.1, reference) == pytest.approx(20, abs=1e-3)
    assert psnr(reference - 0.01, reference) == pytest.approx(40, abs=1e-2)


def test_equal_images_reach_the_ceiling():
    assert psnr(torch.ones(5), torch.ones(5)) == pytest.approx(120)
