"""Two sets of poses that differ by a similarity are the same; other differences are told in their own unit."""

import dataclasses
import math

import pytest
import torch

from pipeline.scene import Camera
from scripts.compare_poses import compare


def cameras(count: int = 9) -> dict[str, Camera]:
    """Cameras on a sloping ring of radius 3 that look at the origin."""
    found = {}
    for k in range(count):
        angle = 2 * math.pi * k / count
        center = 3 * torch.tensor([math.cos(angle), 0.3 * (k % 3) - 0.2, math.sin(angle)], dtype=torch.float64)
        forward = -center / center.norm()
        right = torch.nn.functional.normalize(torch.linalg.cross(torch.tensor([0.0, -1, 0]).double(), forward), dim=0)
        pose = torch.eye(4, dtype=torch.float64)
        pose[:3, :3] = torch.stack([right, torch.linalg.cross(forward, right), forward])
        pose[:3, 3] = -pose[:3, :3] @ center
        K = torch.tensor([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]], dtype=torch.float64)
        found[f"{k}"] = Camera(K=K, cam_from_world=pose, width=640, height=480)
    return found


def turn_deg(angle: float) -> torch.Tensor:
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return torch.tensor([[c, 0, s, 0], [0, 1, 0, 0], [-s, 0, c, 0], [0, 0, 0, 1]], dtype=torch.float64)


def test_a_similarity_is_no_difference() -> None:
    move = turn_deg(70)
    move[:3] *= 2.5
    move[:3, 3] = torch.tensor([4.0, -1.0, 2.0])
    differences = compare({n: c.moved(move) for n, c in cameras().items()}, cameras())
    for values in vars(differences).values():
        assert float(values.max()) < 1e-5


def test_one_turned_camera_is_told_in_degrees() -> None:
    changed = cameras()
    changed["4"] = dataclasses.replace(changed["4"], cam_from_world=turn_deg(0.25) @ changed["4"].cam_from_world)
    center = changed["4"].camera_center
    torch.testing.assert_close(center, cameras()["4"].camera_center)
    differences = compare(changed, cameras())
    assert float(differences.rotation_deg[4]) == pytest.approx(0.25, abs=1e-6)
    assert sorted(differences.pair_deg.tolist())[-8:] == pytest.approx([0.25] * 8, abs=1e-6)
    assert float(differences.center_percent.max()) < 1e-5


def test_a_longer_focal_is_told_in_percent_whatever_the_size() -> None:
    changed = {n: dataclasses.replace(c, K=c.K * torch.tensor([[1.02], [1.02], [1]])) for n, c in cameras().items()}
    differences = compare({n: c.scaled(0.5) for n, c in changed.items()}, cameras())
    torch.testing.assert_close(differences.focal_percent, torch.full((9,), 2.0), atol=1e-3, rtol=0)
