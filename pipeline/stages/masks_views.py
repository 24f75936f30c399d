"""Photos, or windows of them, at the size at which masks are made, and where their pixels' rays go."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from jaxtyping import Float

from pipeline.formats import images
from pipeline.formats.resample import resize
from pipeline.scene import Camera, View

Window = tuple[int, int, int, int]  # left, top, width and height in the photo's pixels
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False, kw_only=True)
class WorkView:
    """A window of a photo at working size.

    Attributes:
        name: The photo's name.
        window: Which part of the photo it shows.
        camera: The camera of that part at this size.
        lab: CIE L*a*b* colours (D65): L in [0, 100], a and b about [-128, 127].
        given: The mask that came along, coverage in [0, 1], or none.
    """

    name: str
    window: Window
    camera: Camera
    lab: Float[np.ndarray, "height width 3"]
    given: Float[np.ndarray, "height width"] | None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.camera.height, self.camera.width


def load_view(view: View, long_side_px: int, window: Window | None = None) -> WorkView:
    """Read a window of a photo (the whole by default), and of its mask if it has one, no larger than `long_side_px`."""
    left, top, width, height = window = window or (0, 0, view.camera.width, view.camera.height)
    matrix = view.camera.K.clone()
    matrix[0, 2] -= left
    matrix[1, 2] -= top
    camera = Camera(K=matrix, cam_from_world=view.camera.cam_from_world, width=width, height=height)
    camera = camera.scaled(min(1.0, long_side_px / max(width, height)))
    part, size = np.s_[top : top + height, left : left + width], (camera.width, camera.height)
    rgb = resize(images.read_image(view.image_path)[part].astype(np.float32) / 255, *size)
    given = None if view.mask_path is None else resize(images.read_mask(view.mask_path).numpy()[part], *size)
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2Lab)
    return WorkView(name=view.name, window=window, camera=camera, lab=lab, given=given)


def transfer(
    image: Float[np.ndarray, "rows columns"], camera: Camera, target: Camera, *, nearest: bool = False
) -> Float[np.ndarray, "height width"]:
    """An image of `camera` as `target` sees it, which stands at the same place and looks the same way."""
    to_source = camera.K.numpy() @ np.linalg.inv(target.K.numpy())
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])  # OpenCV's first centre is at 0
    affine = (np.linalg.inv(half) @ to_source @ half)[:2]
    flags = cv2.WARP_INVERSE_MAP | (cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR)
    size = (target.width, target.height)
    return np.asarray(cv2.warpAffine(image, affine, size, flags=flags, borderMode=cv2.BORDER_REPLICATE))


def rays(camera: Camera) -> Float[np.ndarray, "height width 3"]:
    """Unit directions in the world through the pixels' centres."""
    x, y = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    pixels = np.stack([x, y, np.ones_like(x)], -1)
    world_from_image = camera.cam_from_world[:3, :3].numpy().T @ np.linalg.inv(camera.K.numpy())
    directions = pixels @ world_from_image.T
    return directions / np.linalg.norm(directions, axis=-1, keepdims=True)


def distance_from_origin(camera: Camera) -> Float[np.ndarray, "height width"]:
    """How near each pixel's ray passes to the world's origin, world units."""
    offset = np.cross(rays(camera), camera.camera_center.numpy())
    return np.linalg.norm(offset, axis=-1).astype(np.float32)


def project(camera: Camera, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
    """Pixel coordinates (corner-based) and depth of world points; pixels behind the camera are far outside."""
    image_from_world = (camera.K @ camera.cam_from_world[:3]).numpy()
    image = np.einsum("pk,jk->pj", points, image_from_world[:, :3]) + image_from_world[:, 3]
    depth = image[:, 2:]
    pixels = np.where(depth > 1e-6, image[:, :2] / np.maximum(depth, 1e-6), -1e6)
    return np.concatenate([np.clip(pixels, -1e6, 1e6), depth], 1)


def look_up(image: Float[np.ndarray, "..."], pixels: Float[np.ndarray, "height width 2"]) -> Float[np.ndarray, "..."]:
    """An image at fractional pixels (x, y; first centre at 0.5), bilinear, edge repeated; any number of channels."""
    centred = pixels.astype(np.float32) - 0.5  # OpenCV's first centre is at 0
    x, y = np.ascontiguousarray(centred[..., 0]), np.ascontiguousarray(centred[..., 1])
    return np.asarray(cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def in_parallel(function: Callable[[Item], Result], items: Iterable[Item], threads: int) -> list[Result]:
    """Map a function that releases the interpreter's lock (OpenCV, NumPy, kernels) over items, in order."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)  # else each call waits for threads that the other items' calls keep busy
    try:
        with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
            return list(pool.map(function, items))
    finally:
        cv2.setNumThreads(before)
