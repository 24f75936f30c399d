"""Which way is up, where the object is, how large a unit is."""

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.errors import CaptureError
from pipeline.frames import rotation_to_y_up
from pipeline.scene import Camera, Capture

SNAP_DEG = 5.0  # given poses whose up is this near to an axis of their frame mean that axis


def settle(capture: Capture) -> Capture:
    """Turn +Y up, move the point that all cameras look at to the origin, and scale its surroundings to 1.

    The unit is the radius of the largest ball around that point that fits into the photos; the object box
    is the box of that ball until masks tell more. Given poses whose up is within 5 degrees of an axis of their
    frame mean that axis.

    Args:
        capture: Posed photos and sparse points in the frame of the input.
    """
    cameras = [v.camera for v in capture.views]
    up = estimate_up(cameras)
    if capture.poses_given:
        axis = torch.zeros(3, dtype=torch.float64)
        largest = int(up.abs().argmax())
        axis[largest] = torch.sign(up[largest])
        up = axis if float(axis @ up) > math.cos(math.radians(SNAP_DEG)) else up
    center = look_at_point(cameras)
    radius = visible_radius(cameras, center)
    rotation = rotation_to_y_up(up)
    world_from_input = torch.eye(4, dtype=torch.float64)
    world_from_input[:3, :3] = rotation / radius
    world_from_input[:3, 3] = -(rotation / radius) @ center
    return dataclasses.replace(
        capture,
        views=tuple(dataclasses.replace(v, camera=v.camera.moved(world_from_input)) for v in capture.views),
        points=capture.points.double() @ world_from_input[:3, :3].mT + world_from_input[:3, 3],
        object_box=torch.tensor([[-1.0] * 3, [1.0] * 3], dtype=torch.float64),
        world_from_input=world_from_input,
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
