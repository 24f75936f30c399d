"""Figures of pictures, maps and surfaces against closed forms."""

import numpy as np
import pytest
import torch

from pipeline.bench import surfaces
from pipeline.bench.figures import Traced, angles_deg, compare, compare_colors, light_factors, over_white, ssim
from pipeline.bench.finished_run import align, similarity
from pipeline.bench.judge import spread
from pipeline.bench.surfaces import compare_surfaces, surface_samples
from pipeline.color import linear_from_srgb, srgb_from_linear
from pipeline.errors import InputError
from tests.shapes import cameras_around, sphere

RNG = np.random.default_rng(3)


def flat(value, size=64):
    """An opaque picture of one linear grey."""
    return torch.cat([torch.full((size, size, 3), value), torch.ones(size, size, 1)], -1)


def noisy(picture, seed, deviation):
    noise = torch.randn((*picture.shape[:2], 3), generator=torch.Generator().manual_seed(seed))
    return torch.cat([(picture[..., :3] + deviation * noise).clamp_min(0), picture[..., 3:]], -1)


def traced(picture, deviation=0.0):
    return Traced(first=noisy(picture, 1, deviation), second=noisy(picture, 2, deviation))


def true(picture):
    return torch.cat([srgb_from_linear(picture[..., :3]), picture[..., 3:]], -1)


def test_psnr_is_that_of_the_pictures_without_their_noise():
    pixels, mask = true(flat(0.45)), torch.ones(64, 64, dtype=torch.bool)
    error = float(srgb_from_linear(torch.tensor(0.5)) - srgb_from_linear(torch.tensor(0.45)))
    expected = -20 * np.log10(error)
    assert compare(traced(flat(0.5)), pixels, mask).psnr_db == pytest.approx(expected, abs=1e-3)
    with_noise = traced(flat(0.5), 0.06)
    assert compare(with_noise, pixels, mask).psnr_db == pytest.approx(expected, abs=0.5)
    same_noise = Traced(first=with_noise.first, second=with_noise.first)
    assert compare(same_noise, pixels, mask).psnr_db < expected - 2


def test_psnr_counts_the_mask_alone_and_the_whole_picture():
    picture = flat(0.5)
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[:32] = True
    picture[32:] = 0  # nothing there: white on both sides
    pixels = true(flat(0.45))
    pixels[32:] = 0
    figures = compare(traced(picture), pixels, mask)
    assert figures.psnr_whole_db == pytest.approx(figures.psnr_db + 10 * np.log10(2), abs=1e-4)


def test_transparent_pixels_are_white_and_half_covered_ones_are_mixed_in_srgb():
    half = torch.tensor([[[0.25, 0.25, 0.25, 0.5], [0, 0, 0, 0]]])  # linear 0.5, multiplied by alpha
    shown = over_white(half)
    assert shown[0, 1].tolist() == [1, 1, 1]
    assert float(shown[0, 0, 0]) == pytest.approx(0.5 * float(srgb_from_linear(torch.tensor(0.5))) + 0.5, abs=1e-6)


def test_ssim_of_equal_flat_and_noisy_pictures():
    picture = torch.rand(48, 48, 3)
    assert ssim(picture, picture, picture) == pytest.approx(1, abs=1e-6)
    grey, darker = torch.full((48, 48, 3), 0.6), torch.full((48, 48, 3), 0.4)
    assert ssim(grey, grey, darker) == pytest.approx((2 * 0.6 * 0.4 + 1e-4) / (0.36 + 0.16 + 1e-4), abs=1e-6)
    first, second = (picture + 0.1 * torch.randn(48, 48, 3) for _ in range(2))
    assert ssim(first, second, picture) > ssim(first, first, picture) + 0.02


def test_factors_of_a_light_are_found_through_noise():
    pixels = true(flat(0.0, 96))
    pixels[..., :3] = srgb_from_linear(torch.rand(96, 96, 3) * 0.8)
    linear = linear_from_srgb(pixels[..., :3])
    dim = torch.cat([linear / torch.tensor([2.0, 1.0, 0.8]), torch.ones(96, 96, 1)], -1)
    pixels[:48] = 1.0  # saturated: says nothing
    assert light_factors([(traced(dim, 0.1), pixels)]).tolist() == pytest.approx([2, 1, 0.8], rel=0.04)


def test_base_colours_are_compared_before_and_after_a_factor():
    colors = torch.rand(5000, 3) * 0.5
    figures = compare_colors(colors, colors * torch.tensor([1.5, 1.0, 0.5]))
    assert figures.factors == pytest.approx((1.5, 1.0, 0.5), rel=1e-5)
    assert figures.psnr_scaled_db > 100 and figures.psnr_db < 25


def test_angles_are_exact_when_small():
    angle = torch.tensor([0.0, 1e-4, 0.5, 3.0], dtype=torch.float64)
    ours = torch.stack([angle.cos(), angle.sin(), 0 * angle], 1).float()
    found = angles_deg(ours, torch.tensor([[1.0, 0, 0]]).expand(4, 3))
    assert torch.allclose(found, torch.rad2deg(angle).float(), rtol=1e-4)


@pytest.fixture
def coarse(monkeypatch):
    monkeypatch.setattr(surfaces, "DENSE", 150_000)


def test_a_larger_ball_is_as_far_away_as_its_radius_says(coarse):
    vertices, faces = (x.numpy() for x in sphere(33))
    vertices = vertices / np.linalg.norm(vertices, axis=1, keepdims=True)
    diagonal = np.linalg.norm(np.ptp(vertices, 0))
    figures = compare_surfaces((1.05 * vertices, faces), (vertices, faces), vertices)
    assert figures.accuracy_pct == pytest.approx(5 / diagonal, rel=0.03)
    assert figures.completeness_pct == pytest.approx(5 / diagonal, rel=0.03)
    assert figures.chamfer_pct == pytest.approx((figures.accuracy_pct + figures.completeness_pct) / 2)
    assert (figures.f_score, figures.f_score_half) == (0, 0)  # 1.4 % of the diagonal away
    nearer = compare_surfaces((1.025 * vertices, faces), (vertices, faces), vertices)
    assert (nearer.f_score, nearer.f_score_half) == (1, 0)  # 0.7 %


def test_a_missing_half_is_a_matter_of_completeness(coarse):
    vertices, faces = (x.numpy() for x in sphere(33))
    upper = faces[(vertices[faces][..., 1] > 0).all(1)]
    figures = compare_surfaces((vertices, upper), (vertices, faces), surface_samples(vertices, faces, 9000, RNG))
    assert figures.accuracy_pct < 0.2 < 5 < figures.completeness_pct
    assert figures.f_score == pytest.approx(2 * 0.5 / 1.5, abs=0.03)


def test_surface_samples_are_spread_by_area():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 5], [3, 0, 5], [0, 3, 5]], float)
    points = surface_samples(vertices, np.array([[0, 1, 2], [3, 4, 5]]), 20_000, RNG)
    assert (points[:, 2] > 2.5).mean() == pytest.approx(0.9, abs=0.01)
    near = points[points[:, 2] < 2.5]
    assert near.mean(0) == pytest.approx([1 / 3, 1 / 3, 0], abs=0.02)
    assert (near[:, :2].sum(1) <= 1 + 1e-9).all()


def test_a_similarity_is_found_again_and_is_never_a_mirror():
    points = torch.randn(9, 3, dtype=torch.float64)
    axis = torch.tensor([[0, -1, 2], [1, 0, 0.5], [-2, -0.5, 0]], dtype=torch.float64)
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3] = 2.5 * torch.linalg.matrix_exp(axis)
    matrix[:3, 3] = torch.tensor([1.0, -2.0, 3.0])
    moved = points @ matrix[:3, :3].mT + matrix[:3, 3]
    assert torch.allclose(similarity(points, moved), matrix, atol=1e-9)
    assert torch.linalg.det(similarity(points, points * torch.tensor([1.0, 1.0, -1.0]))[:3, :3]) > 0


def test_alignment_says_how_far_cameras_are_off(tmp_path):
    cameras = {f"{k}": camera for k, camera in enumerate(cameras_around(12))}
    turn = torch.eye(4, dtype=torch.float64)
    angle = torch.tensor(np.radians(3.0))
    turn[0, 0] = turn[1, 1] = angle.cos()
    turn[1, 0], turn[0, 1] = angle.sin(), -angle.sin()
    rolled = {}
    for name, camera in cameras.items():  # about their own axes: centres stay
        pose = turn @ camera.cam_from_world
        rolled[name] = type(camera)(K=camera.K, cam_from_world=pose, width=128, height=128)
    found = align(rolled, cameras, tmp_path)
    assert found.angle_error_deg == pytest.approx(3, abs=1e-6) and found.center_error_pct < 1e-9
    with pytest.raises(InputError, match="only 2 of its cameras"):
        align({name: cameras[name] for name in ("0", "1")}, cameras, tmp_path)


def test_views_are_spread_as_the_independent_judge_spreads_them():
    assert spread(range(12), 6) == [0, 2, 4, 6, 8, 10]
    assert spread(range(5), 9) == [0, 1, 2, 3, 4] and spread(range(12), 3) == [2, 6, 10] and spread([], 3) == []
