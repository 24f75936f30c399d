"""The photo and the mask of a view, at the size that a stage works at."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.errors import InputError
from pipeline.formats import images
from pipeline.formats.resample import resize
from pipeline.scene import Camera, View


def read_view_image(view: View, width: int, height: int) -> Float[Tensor, "height width 3"]:
    """A view's photo as linear RGB at the given size, averaged in linear light; radiance may exceed 1."""
    return torch.from_numpy(resize(images.read_linear(view.image_path), width, height))


def read_view_mask(view: View, *, long_side_px: int) -> tuple[Camera, Float[np.ndarray, "height width"]]:
    """A view's coverage no larger than `long_side_px`, with the camera that fits it.

    Raises:
        InputError: When the view has no mask.
    """
    if view.mask_path is None:
        raise InputError("has no mask", path=view.name)
    mask = images.read_mask(view.mask_path).numpy()
    camera = view.camera.scaled(min(1.0, long_side_px / max(mask.shape)))
    return camera, resize(mask, camera.width, camera.height)
