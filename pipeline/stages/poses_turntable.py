"""The light of a turntable: it stands still in the room, and so turns in the frame of the object."""

import dataclasses
import itertools

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.scene import View

LEAST_TURN = 1e-3  # radians: smaller turns between neighbours tell no axis


def under_a_still_light(views: list[View]) -> list[View]:
    """The views with the rotation of the light against the turning object; each pass has a light of its own."""
    turned = {}
    for index in sorted({v.light_index for v in views}):
        own = [v for v in views if v.light_index == index]
        lights = light_from_world_of_turntable(torch.stack([v.camera.cam_from_world for v in own]))
        turned.update({v.name: light for v, light in zip(own, lights, strict=True)})
    return [dataclasses.replace(v, light_from_world=turned[v.name]) for v in views]


def light_from_world_of_turntable(cam_from_world: Float[Tensor, "views 4 4"]) -> Float[Tensor, "views 4 4"]:
    """Rotation from the object's frame to the frame in which the light stands still, for each view.

    The light frame is the object's frame as it stood in the room for the first view: there the rotation is the
    identity. A direction d of the object's frame (away from the surface) points to where the light frame has
    `light_from_world @ d`. A camera that stands still keeps the light's direction, R_0 l = R_i w for a direction l of
    the light frame and w of view i, so light_from_world = R_0^T R_i. That is a rotation about the table's axis; a
    camera that was raised between two rounds adds a tilt of its own, which is not the light's, so the part about the
    axis alone is kept (the twist of the swing-twist decomposition). The axis is that of the turns between
    neighbouring views.

    Args:
        cam_from_world: Poses in the object's frame, in the order in which the photos were taken.
    """
    rotation = cam_from_world[:, :3, :3].double()
    turned = rotation[:1].mT @ rotation
    quaternions = torch.stack([_quaternion(r) for r in turned])
    axis = turn_axis(rotation)
    along = quaternions[:, 1:] @ axis
    angle = 2 * torch.atan2(along, quaternions[:, 0])
    result = torch.eye(4, dtype=torch.float64).repeat(len(rotation), 1, 1)
    result[:, :3, :3] = torch.linalg.matrix_exp(angle[:, None, None] * _cross(axis))
    return result


def turn_axis(rotation: Float[Tensor, "views 3 3"]) -> Float[Tensor, "3"]:
    """Unit axis, in the object's frame, that neighbouring views turn about; its sign is arbitrary."""
    steps = [_quaternion(a.mT @ b) for a, b in itertools.pairwise(rotation)]
    vectors = torch.stack([q[1:] for q in steps])
    vectors = vectors[vectors.norm(dim=1) > LEAST_TURN]
    if not len(vectors):
        return torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    return torch.linalg.eigh(vectors.mT @ vectors)[1][:, 2]


def _quaternion(rotation: Float[Tensor, "3 3"]) -> Float[Tensor, "4"]:
    """Unit quaternion (w, x, y, z) of a rotation: the dominant eigenvector of Bar-Itzhack's matrix (2000)."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation.tolist()
    k = torch.tensor(
        [
            [xx + yy + zz, zy - yz, xz - zx, yx - xy],
            [zy - yz, xx - yy - zz, xy + yx, xz + zx],
            [xz - zx, xy + yx, yy - xx - zz, yz + zy],
            [yx - xy, xz + zx, yz + zy, zz - xx - yy],
        ],
        dtype=torch.float64,
    )
    q = torch.linalg.eigh(k)[1][:, 3]
    return q if float(q[0]) >= 0 else -q


def _cross(v: Float[Tensor, "3"]) -> Float[Tensor, "3 3"]:
    """The matrix of the cross product with `v`."""
    x, y, z = v.tolist()
    return torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]], dtype=torch.float64)
