"""Coordinate frames: the only module that flips an axis.

| frame  | hand  | right, up, forward | used by |
| ---    | ---   | ---                | --- |
| cam    | right | +x, -y, +z         | OpenCV, COLMAP, this project |
| gl_cam | right | +x, +y, -z         | OpenGL, glTF cameras, NeRF transforms.json |
| mitsuba_cam | right | -x, +y, +z    | Mitsuba |
| llff_cam | right | +y, -x, -z       | LLFF's poses_bounds.npy |
| world  | right | +x, +y, front +z   | glTF: +Y is up |

Pixels are corner-based: the first pixel's centre is (0.5, 0.5). Row 0 of an image is its top.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.errors import InputError

_GL_CAM_FROM_CAM = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64))
_GL_CAM_FROM_MITSUBA_CAM = torch.diag(torch.tensor([-1.0, 1.0, -1.0, 1.0], dtype=torch.float64))
_LLFF_CAM_FROM_CAM = torch.tensor(
    [[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, -1.0, 0.0], [0.0, 0.0, 0.0, 1.0]], dtype=torch.float64
)


def check_rigid(transform: Float[Tensor, "*batch 4 4"], what: str) -> None:
    """Raise `InputError` unless every matrix is a proper rigid transform (orthonormal, det = +1)."""
    if not bool(torch.isfinite(transform).all()):
        raise InputError(f"{what} is not finite", remedy="check the poses that were given")
    rotation = transform[..., :3, :3].double()
    eye = torch.eye(3, dtype=torch.float64, device=rotation.device)
    error = float((rotation @ rotation.mT - eye).abs().max()) if rotation.numel() else 0.0
    det = torch.linalg.det(rotation)
    if error > 1e-3 or bool((det < 0).any()):
        raise InputError(
            f"{what} is not a rotation: orthonormal to {error:.1e} against 1e-3, det {float(det.min()):+.3f}",
            remedy="a mirrored or scaled pose has to be corrected where it was made",
        )


def cam_from_world_from_gl_pose(world_from_gl_cam: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """Convert camera-to-world matrices with OpenGL axes (NeRF, glTF) to `cam_from_world`."""
    return _GL_CAM_FROM_CAM @ torch.linalg.inv(world_from_gl_cam.double())


def gl_pose_from_cam_from_world(cam_from_world: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """Convert `cam_from_world` to camera-to-world matrices with OpenGL axes, as `cameras.json` holds them."""
    return torch.linalg.inv(cam_from_world.double()) @ _GL_CAM_FROM_CAM


def mitsuba_pose_from_gl_pose(world_from_gl_cam: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """Camera-to-world matrices for Mitsuba, whose cameras look along +z with +x to the left and +y up."""
    return world_from_gl_cam @ _GL_CAM_FROM_MITSUBA_CAM


def cam_from_world_from_llff_pose(world_from_llff_cam: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """Convert LLFF's camera-to-world matrices, whose axes point down, right and back, to `cam_from_world`."""
    return _LLFF_CAM_FROM_CAM.mT @ torch.linalg.inv(world_from_llff_cam.double())


def upright_cam_from_stored_cam(orientation: int) -> Float[Tensor, "3 3"]:
    """The rotation from the camera of a photo's stored pixels to that of the photo turned upright.

    By EXIF's orientation 3 the picture is turned by half a turn, by 6 a quarter clockwise, by 8 counter-clockwise.

    Raises:
        InputError: When the orientation is a mirror image's (2, 4, 5, 7), which no camera takes.
    """
    cos, sin = {1: (1.0, 0.0), 3: (-1.0, 0.0), 6: (0.0, 1.0), 8: (0.0, -1.0)}.get(orientation, (0.0, 0.0))
    if cos == sin:
        raise InputError(f"is a mirror image (EXIF orientation {orientation}), of which no camera has a pose")
    return torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)


def clip_from_cam(
    K: Float[Tensor, "*batch 3 3"], *, size_px: tuple[int, int], near: float, far: float
) -> Float[Tensor, "*batch 4 4"]:
    """Projection from the `cam` frame to homogeneous clip space.

    NDC y grows downwards with the image rows, so row 0 of a rasterised image is the top of the photo
    and nothing is flipped afterwards; z/w grows from -1 at `near` to +1 at `far`.

    Args:
        K: Pinhole intrinsics in pixels, corner-based.
        size_px: Image (width, height).
        near: Distance of the near plane along the axis, in world units.
        far: Distance of the far plane along the axis, in world units.
    """
    width, height = size_px
    clip = torch.zeros(*K.shape[:-2], 4, 4, dtype=K.dtype, device=K.device)
    clip[..., 0, 0] = 2 * K[..., 0, 0] / width
    clip[..., 0, 1] = 2 * K[..., 0, 1] / width
    clip[..., 0, 2] = 2 * K[..., 0, 2] / width - 1
    clip[..., 1, 1] = 2 * K[..., 1, 1] / height
    clip[..., 1, 2] = 2 * K[..., 1, 2] / height - 1
    clip[..., 2, 2] = (far + near) / (far - near)
    clip[..., 2, 3] = -2 * far * near / (far - near)
    clip[..., 3, 2] = 1
    return clip


def rotation_to_y_up(up: Float[Tensor, "3"]) -> Float[Tensor, "3 3"]:
    """The rotation (det +1) that takes the unit vector `up` to +Y along the shortest arc.

    For `up` = +Z this is glTF's usual conversion: (x, y, z) becomes (x, z, -y).
    """
    a = up.double() / torch.linalg.norm(up.double())
    b = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    cos = float(a @ b)
    if cos < -1 + 1e-9:
        return torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
    v = torch.linalg.cross(a, b)
    cross = torch.tensor([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]], dtype=torch.float64)
    return torch.eye(3, dtype=torch.float64) + cross + cross @ cross / (1 + cos)


def z_up_from_y_up() -> Float[Tensor, "4 4"]:
    """The rotation that undoes glTF's usual conversion of a world with +Z up: (x, y, z) becomes (x, -z, y)."""
    turn = torch.eye(4, dtype=torch.float64)
    turn[:3, :3] = rotation_to_y_up(torch.tensor([0.0, 0.0, 1.0])).mT
    return turn


def uv_from_bottom_left(uv: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
    """Texture coordinates with v down from the top left, of those with v up from the bottom left (OBJ, PLY)."""
    return torch.stack([uv[..., 0], 1 - uv[..., 1]], -1)


def equirect_uv_from_direction(direction: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 2"]:
    """Longitude and latitude coordinates of world directions, as three.js and Blender read a light map.

    u = 1/2 + atan2(z, x) / 2 pi, v = acos(y) / pi; (0, 0) is the top left corner of the map.
    """
    d = torch.nn.functional.normalize(direction, dim=-1)
    u = 0.5 + torch.atan2(d[..., 2], d[..., 0]) / (2 * math.pi)
    v = torch.acos(d[..., 1].clamp(-1, 1)) / math.pi
    return torch.stack([u, v], -1)


def direction_from_equirect_uv(uv: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 3"]:
    """Unit world directions of longitude and latitude coordinates; inverts `equirect_uv_from_direction`."""
    phi = (uv[..., 0] - 0.5) * 2 * math.pi
    theta = uv[..., 1] * math.pi
    sin = torch.sin(theta)
    return torch.stack([sin * torch.cos(phi), torch.cos(theta), sin * torch.sin(phi)], -1)
