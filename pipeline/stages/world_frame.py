"""Which way is up and where the object is."""

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.config import WorldConfig
from pipeline.errors import CaptureError
from pipeline.frames import rotation_to_y_up
from pipeline.geometry.support_plane import find_plane
from pipeline.scene import Camera, Capture

SNAP_DEG = 5.0  # given poses whose up is this near to an axis of their frame mean that axis
MAX_TILT_DEG = 15.0  # a plane further from level than cameras' rolls explain is a slope, or the object's own


def settle(capture: Capture, config: WorldConfig, seed: int) -> Capture:
    """Turn +Y up, move the point that all cameras look at to the origin, and scale its surroundings to 1.

    The unit is the radius of the largest ball around that point that fits into the photos; the object box
    is the box of that ball until masks tell more. What the user said about up, front and box wins.

    Args:
        capture: Posed photos and sparse points in the frame of the input.
        config: What the user knows.
        seed: Of the search for the support plane.
    """
    world_from_input, up_from = _found_frame(capture, seed)
    turn = torch.eye(4, dtype=torch.float64)
    turn[:3, :3] = told_rotation(config)
    world_from_input = turn @ world_from_input
    corners = config.box_corners or ((-1.0,) * 3, (1.0,) * 3)
    return dataclasses.replace(
        _moved(capture, world_from_input),
        object_box=torch.tensor(corners, dtype=torch.float64),
        world_from_input=world_from_input,
        box_given=config.box_corners is not None,
        up_from="--up" if config.up else up_from,
    )


def told_rotation(config: WorldConfig) -> Float[Tensor, "3 3"]:
    """The rotation that takes the user's up to +Y and the user's front, as far as it is level, to +Z."""
    up = torch.tensor(config.up_direction or (0.0, 1.0, 0.0), dtype=torch.float64)
    if config.front_direction is None:
        return rotation_to_y_up(up)
    front = torch.tensor(config.front_direction, dtype=torch.float64)
    front = torch.nn.functional.normalize(front - (front @ up) * up, dim=0)
    return torch.stack([torch.linalg.cross(up, front), up, front])


def _found_frame(capture: Capture, seed: int) -> tuple[Float[Tensor, "4 4"], str]:
    """The settled world as photos and sparse points tell it, as a similarity from the input, and what told up.

    Up is an axis of the frame of given poses where the cameras' up is within 5 degrees of one; else the normal of the
    plane that the object stands on, where sparse points show one; else what is vertical in most photos.
    """
    cameras = [v.camera for v in capture.views]
    first_pass = min(v.light_index for v in capture.views)  # later ones saw the object turned over
    up = estimate_up([v.camera for v in capture.views if v.light_index == first_pass])
    axis = torch.zeros(3, dtype=torch.float64)
    largest = int(up.abs().argmax())
    axis[largest] = torch.sign(up[largest])
    snapped = capture.poses_given and float(axis @ up) > math.cos(math.radians(SNAP_DEG))
    center = look_at_point(cameras)
    radius = visible_radius(cameras, center)
    rotation = rotation_to_y_up(axis if snapped else up)
    up_from = "an axis of the given poses" if snapped else "the cameras"
    if not snapped:
        points = (capture.points.double() - center) @ rotation.mT / radius
        plane = find_plane(points.numpy(), seed)
        if plane is not None and plane.normal[1] > math.cos(math.radians(MAX_TILT_DEG)):
            rotation = rotation_to_y_up(torch.from_numpy(plane.normal)) @ rotation
            up_from = "the support plane"
    world_from_input = torch.eye(4, dtype=torch.float64)
    world_from_input[:3, :3] = rotation / radius
    world_from_input[:3, 3] = -(rotation / radius) @ center
    return world_from_input, up_from


def _moved(capture: Capture, new_from_old: Float[Tensor, "4 4"]) -> Capture:
    """The capture's cameras, points and turning lights in the frame that a similarity takes theirs to."""
    turn = torch.eye(4, dtype=torch.float64)
    turn[:3, :3] = new_from_old[:3, :3] / torch.linalg.det(new_from_old[:3, :3]) ** (1 / 3)
    return dataclasses.replace(
        capture,
        views=tuple(
            dataclasses.replace(
                v, camera=v.camera.moved(new_from_old), light_from_world=turn @ v.light_from_world @ turn.mT
            )
            for v in capture.views
        ),
        points=capture.points.double() @ new_from_old[:3, :3].mT + new_from_old[:3, 3],
    )


def estimate_up(cameras: list[Camera]) -> Float[Tensor, "3"]:
    """The direction that is most nearly vertical in all photos.

    Cameras roll little, so it is at right angles to their x axes; its sign is that of most cameras' upward axes.
    """
    right = torch.stack([c.cam_from_world[0, :3] for c in cameras])
    upward = -torch.stack([c.cam_from_world[1, :3] for c in cameras]).mean(0)
    values, vectors = torch.linalg.eigh(right.mT @ right)
    up = vectors[:, 0]
    if float(values[1]) < 1e-3 * len(cameras):  # photos from one side only leave a plane of candidates
        plane = vectors[:, :2]
        up = torch.nn.functional.normalize(plane @ (plane.mT @ upward), dim=0)
    return up if float(up @ upward) >= 0 else -up


def look_at_point(cameras: list[Camera]) -> Float[Tensor, "3"]:
    """The point nearest to all optical axes, in the least-squares sense, refitted without the outer third.

    Raises:
        CaptureError: When the axes do not meet in front of the cameras.
    """
    centers = torch.stack([c.camera_center for c in cameras])
    axes = torch.stack([c.forward for c in cameras])
    keep = torch.ones(len(cameras), dtype=torch.bool)
    point = torch.zeros(3, dtype=torch.float64)
    for _ in range(4):
        projector = torch.eye(3, dtype=torch.float64) - axes[keep, :, None] * axes[keep, None, :]
        point = torch.linalg.lstsq(projector.sum(0), (projector @ centers[keep, :, None]).sum(0)).solution[:, 0]
        offset = point - centers
        miss = torch.linalg.norm(torch.linalg.cross(offset, axes), dim=1) / torch.linalg.norm(offset, dim=1)
        keep = miss <= torch.quantile(miss, 2 / 3)
    if float(((point - centers) * axes).sum(1).median()) <= 0:
        raise CaptureError(
            "the cameras do not look at one object", remedy="walk around the object and keep it in the middle"
        )
    return point


def visible_radius(cameras: list[Camera], center: Float[Tensor, "3"]) -> float:
    """Radius of the ball around `center` that fits into the frame of a typical (median) photo."""
    radii = []
    for camera in cameras:
        pixel, depth = camera.project(center[None])
        x, y = pixel[0].tolist()
        margin = min(x, y, camera.width - x, camera.height - y)
        if float(depth) > 0 and margin > 0:
            radii.append(margin * float(depth) / float(camera.K[0, 0]))
    if len(radii) < 3:
        raise CaptureError(
            f"only {len(radii)} photos show the point that all look at", remedy="keep the object in the frame"
        )
    return sorted(radii)[len(radii) // 2]
