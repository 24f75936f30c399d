"""Photos of an object on a turntable: only the object may carry features, for the background stands still."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage

from pipeline.errors import CaptureError
from pipeline.formats import images
from pipeline.formats.resample import resize
from pipeline.stages.sfm_job import SfmJob

WORKING_PX = 640  # long side at which the background is compared
MOST_PHOTOS = 60  # that the background is the median of
LEAST_DIFFERENCE = 10.0  # of 255: less is noise
NOISE_FACTOR = 6.0
CLOSING_PX = 6  # gaps in the object as wide as this are closed: parts of it may look like the background
SHARE_RANGE = (0.003, 0.7)  # of the photo that the object may take up
REMEDY = "bring masks along (a folder masks/ beside the photos), or keep the camera and the background still"


def still_background_masks(job: SfmJob) -> dict[str, Path]:
    """Masks of what moves before a camera that stands still, by COLMAP's names; empty when masks came along.

    The background is the median of the photos, pixel by pixel; what differs from it is the object. Crude at the
    outline, which is good enough for choosing features.

    Raises:
        CaptureError: When the photos are of several sizes, or what moves is nothing or nearly everything.
    """
    if any(p.mask_path is not None for p in job.photos.values()):
        return {}
    sizes = {(p.width, p.height) for p in job.photos.values()}
    if len(sizes) > 1:
        raise CaptureError(
            f"rig=turntable without masks needs photos of one size; these have {len(sizes)}", remedy=REMEDY
        )
    width, height = sizes.pop()
    scale = min(1.0, WORKING_PX / max(width, height))
    small = (max(1, round(width * scale)), max(1, round(height * scale)))
    pictures = np.stack([resize(images.read_image(p.image_path), *small) for p in job.photos.values()])
    moving = what_moves(pictures)
    share = float(np.median(moving.mean((1, 2))))
    if not SHARE_RANGE[0] <= share <= SHARE_RANGE[1]:
        raise CaptureError(
            f"rig=turntable: {share:.1%} of the picture moves, {SHARE_RANGE[0]:.1%} to {SHARE_RANGE[1]:.0%} expected "
            "of an object that turns before a still background",
            remedy=REMEDY,
        )
    folder = job.folder / "moving"
    folder.mkdir(exist_ok=True)
    made = {}
    for name, mask in zip(job.photos, moving, strict=True):
        made[name] = folder / f"{name}.png"
        full = resize(mask.astype(np.float32), width, height) > 0.5
        images.write_png(made[name], full.astype(np.uint8) * np.uint8(255))
    return made


def what_moves(pictures: UInt8[np.ndarray, "photos height width 3"]) -> Bool[np.ndarray, "photos height width"]:
    """Where each picture differs from the median of all by more than the noise, without specks and holes."""
    background = np.median(pictures[:: 1 + len(pictures) // MOST_PHOTOS], axis=0).astype(np.float32)
    moving = np.zeros(pictures.shape[:3], bool)
    for k, picture in enumerate(pictures):
        difference = np.abs(picture.astype(np.float32) - background).max(-1)
        moving[k] = _solid(difference > _threshold(difference))
    return moving


def _threshold(difference: Float[np.ndarray, "height width"]) -> float:
    """Above the noise of the background, which is more than half of the picture."""
    return max(LEAST_DIFFERENCE, NOISE_FACTOR * float(np.median(difference)))


def _solid(mask: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """The mask's largest part, its gaps closed."""
    opened = ndimage.binary_opening(mask, iterations=1)
    closed = ndimage.binary_closing(np.pad(opened, CLOSING_PX), iterations=CLOSING_PX)
    filled = ndimage.binary_fill_holes(closed)[CLOSING_PX:-CLOSING_PX, CLOSING_PX:-CLOSING_PX]
    labels, count = ndimage.label(filled)
    if count == 0:
        return np.zeros_like(mask)
    return np.asarray(labels == 1 + np.bincount(labels.ravel())[1:].argmax())
