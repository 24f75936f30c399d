"""The light of a turntable turns in the object's frame as the table does in the room."""

import math

import numpy as np
import pytest
import torch

from pipeline.stages.poses_turntable import light_from_world_of_turntable, turn_axis
from pipeline.stages.sfm_turntable import what_moves

AXIS = torch.nn.functional.normalize(torch.tensor([0.3, 0.9, -0.2], dtype=torch.float64), dim=0)


def about(axis: torch.Tensor, angle: float) -> torch.Tensor:
    """Rotation by the exponential map, in the reference's own words: R = exp(angle [axis]x)."""
    x, y, z = (axis * angle).tolist()
    return torch.linalg.matrix_exp(torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]], dtype=torch.float64))


def turntable(angles: list[float], tilts: list[float]) -> torch.Tensor:
    """Poses of a camera that looks at a table turned by `angles`; it is itself tilted by `tilts` in the room."""
    start = about(torch.tensor([1.0, 0.2, 0.1], dtype=torch.float64), 0.7)
    side = torch.linalg.cross(AXIS, torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64))
    poses = torch.eye(4, dtype=torch.float64).repeat(len(angles), 1, 1)
    for k, (angle, tilt) in enumerate(zip(angles, tilts, strict=True)):
        raised = about(torch.nn.functional.normalize(side, dim=0), tilt)
        poses[k, :3, :3] = start @ raised @ about(AXIS, angle)
        poses[k, :3, 3] = torch.tensor([0.0, 0.0, 4.0])
    return poses


def test_a_lamp_that_stands_in_the_room_has_one_direction_in_the_light_frame() -> None:
    angles = [2 * math.pi * k / 12 for k in range(12)]
    poses = turntable(angles, [0.0] * 12)
    lights = light_from_world_of_turntable(poses)
    lamp_in_camera = torch.nn.functional.normalize(torch.tensor([0.4, -0.8, -0.3], dtype=torch.float64), dim=0)
    seen = []
    for pose, light in zip(poses, lights, strict=True):
        lamp_in_object = pose[:3, :3].mT @ lamp_in_camera
        seen.append(light[:3, :3] @ lamp_in_object)
    torch.testing.assert_close(torch.stack(seen), (poses[0, :3, :3].mT @ lamp_in_camera).repeat(12, 1))
    torch.testing.assert_close(lights[0], torch.eye(4, dtype=torch.float64))
    assert (torch.linalg.det(lights[:, :3, :3]) - 1).abs().max() < 1e-12


def test_a_raised_camera_does_not_tilt_the_light() -> None:
    steps = [2 * math.pi * k / 10 for k in range(10)]
    lights = light_from_world_of_turntable(turntable(steps + steps, [0.0] * 10 + [0.5] * 10))
    torch.testing.assert_close(lights[10:], lights[:10], atol=0.02, rtol=0)


@pytest.mark.parametrize("step", [0.1, 0.5, -0.5])
def test_the_axis_is_that_of_the_table(step: float) -> None:
    axis = turn_axis(turntable([step * k for k in range(8)], [0.0] * 8)[:, :3, :3])
    assert abs(float(axis @ AXIS)) == pytest.approx(1, abs=1e-9)


def test_what_differs_from_the_median_moves() -> None:
    random = np.random.default_rng(3)
    background = random.integers(40, 200, (60, 80, 3))
    pictures, truth = [], np.zeros((9, 60, 80), bool)
    for k in range(9):
        y, x = np.mgrid[:60, :80]
        truth[k] = (y - 30) ** 2 + (x - 40 - 6 * math.cos(k)) ** 2 < 14**2
        noisy = background + random.normal(0, 2, background.shape)
        noisy[truth[k]] = random.integers(0, 256, (int(truth[k].sum()), 3))
        pictures.append(noisy.clip(0, 255).astype(np.uint8))
    found = what_moves(np.stack(pictures))
    overlap = (found & truth).sum((1, 2)) / (found | truth).sum((1, 2))
    assert (found & truth).sum() > 0.97 * truth.sum()  # next to nothing of the object is missed
    assert overlap.min() > 0.7  # around it, where most photos show the object, the median is no background
