"""The photos that fits of a grid draw from: all of one size, in memory."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from pipeline.formats.views import read_view_image, read_view_mask
from pipeline.scene import Camera, Capture


@dataclass(frozen=True, eq=False, kw_only=True)
class Photos:
    """Square pictures of one size; what a photo does not reach is unknown.

    Attributes:
        color: Linear RGB.
        alpha: Coverage of the object in [0, 1].
        known: 1 where the photo is, 0 beyond its border.
        K: Intrinsics at this size, in pixels.
        cam_from_world: Poses.
        light_from_world: How the world stands in the light of each photo, as on a turntable.
        light_index: Under which of several lights each was taken.
    """

    color: Float[Tensor, "views size size 3"]
    alpha: Float[Tensor, "views size size"]
    known: Float[Tensor, "views size size"]
    K: Float[Tensor, "views 3 3"]
    cam_from_world: Float[Tensor, "views 4 4"]
    light_from_world: Float[Tensor, "views 3 3"]
    light_index: Int[Tensor, "views"]

    def batch(self, index: Int[Tensor, "batch"]) -> "Photos":
        """The photos at `index`."""
        return Photos(**{name: value[index] for name, value in vars(self).items()})

    @property
    def camera(self) -> Camera:
        """All cameras in one batch."""
        size = self.alpha.shape[1]
        return Camera(K=self.K, cam_from_world=self.cam_from_world, width=size, height=size)


def read_photos(
    capture: Capture, *, size_px: int, device: torch.device, progress: Callable[[float, str], None]
) -> Photos:
    """Scale every photo and mask down to `size_px` along its longer side and fill up to a square.

    Raises:
        InputError: When a view has no mask.
    """
    rows: list[tuple[Tensor, ...]] = []
    for index, view in enumerate(capture.views):
        progress(index / len(capture.views), f"reading {view.name}")
        camera, mask = read_view_mask(view, long_side_px=size_px)
        beyond = (0, size_px - camera.width, 0, size_px - camera.height)
        alpha = torch.from_numpy(mask).float()
        color = read_view_image(view, camera.width, camera.height).float().permute(2, 0, 1)
        pictures = (pad(color, beyond).permute(1, 2, 0), pad(alpha, beyond), pad(torch.ones_like(alpha), beyond))
        rows.append((*pictures, camera.K, camera.cam_from_world, view.light_from_world[:3, :3].float()))
    color, alpha, known, K, pose, turned = (torch.stack(column).to(device) for column in zip(*rows, strict=True))
    return Photos(
        color=color,
        alpha=alpha,
        known=known,
        K=K,
        cam_from_world=pose,
        light_from_world=turned,
        light_index=torch.tensor([view.light_index for view in capture.views], device=device),
    )
