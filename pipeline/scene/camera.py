"""Pinhole cameras."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.errors import InputError
from pipeline.frames import check_rigid, clip_from_cam


@dataclass(frozen=True, eq=False, kw_only=True)
class Camera:
    """A pinhole camera without distortion, or a batch of them of one image size.

    Attributes:
        K: Intrinsics `[[fx, s, cx], [0, fy, cy], [0, 0, 1]]` in pixels, corner-based (first centre at 0.5).
        cam_from_world: Rigid transform to the OpenCV camera frame (+x right, +y down, +z forward).
        width: Image width in pixels.
        height: Image height in pixels.

    Raises:
        InputError: When a pose is not rigid or a focal length is not positive.
    """

    K: Float[Tensor, "*batch 3 3"]
    cam_from_world: Float[Tensor, "*batch 4 4"]
    width: int
    height: int

    def __post_init__(self) -> None:
        """Refuse mirrored or scaled poses and impossible intrinsics."""
        check_rigid(self.cam_from_world, "a camera pose")
        focal = torch.stack([self.K[..., 0, 0], self.K[..., 1, 1]])
        if not bool((focal > 0).all()):
            raise InputError(f"focal length {float(focal.min()):.3g} px is not positive", remedy="check the intrinsics")

    @property
    def camera_center(self) -> Float[Tensor, "*batch 3"]:
        """Position in world units."""
        rotation, translation = self.cam_from_world[..., :3, :3], self.cam_from_world[..., :3, 3:]
        return -(rotation.mT @ translation)[..., 0]

    @property
    def forward(self) -> Float[Tensor, "*batch 3"]:
        """Unit viewing direction in the world."""
        return self.cam_from_world[..., 2, :3]

    def resized(self, width: int, height: int) -> "Camera":
        """The same camera for the image resampled to `width` x `height`: exact, as pixels are corner-based."""
        scale = self.K.new_tensor([width / self.width, height / self.height, 1.0])
        return Camera(K=self.K * scale[:, None], cam_from_world=self.cam_from_world, width=width, height=height)

    def scaled(self, factor: float) -> "Camera":
        """The same camera for an image scaled by `factor`, rounded to whole pixels."""
        return self.resized(max(1, round(self.width * factor)), max(1, round(self.height * factor)))

    def moved(self, new_from_old: Float[Tensor, "4 4"]) -> "Camera":
        """The same camera in a world that a similarity takes the old one to; its pose stays rigid."""
        scale = torch.linalg.det(new_from_old[:3, :3]) ** (1 / 3)
        rotation = self.cam_from_world[..., :3, :3] @ (new_from_old[:3, :3] / scale).mT
        center = self.camera_center @ new_from_old[:3, :3].mT + new_from_old[:3, 3]
        pose = self.cam_from_world.clone()
        pose[..., :3, :3] = rotation
        pose[..., :3, 3] = -(rotation @ center[..., None])[..., 0]
        return Camera(K=self.K, cam_from_world=pose, width=self.width, height=self.height)

    def project(
        self, points: Float[Tensor, "points 3"]
    ) -> tuple[Float[Tensor, "*batch points 2"], Float[Tensor, "*batch points"]]:
        """Pixel coordinates and depth (z along the axis, world units) of world points."""
        points = points.to(self.K.dtype)
        cam = points @ self.cam_from_world[..., :3, :3].mT + self.cam_from_world[..., None, :3, 3]
        image = cam @ self.K.mT
        depth = cam[..., 2]
        return image[..., :2] / depth[..., None], depth

    def clip_from_world(self, *, near: float, far: float) -> Float[Tensor, "*batch 4 4"]:
        """Homogeneous clip space from the world; `near` and `far` in world units along the axis."""
        return clip_from_cam(self.K, size_px=(self.width, self.height), near=near, far=far) @ self.cam_from_world
