"""Cameras that were solved for other pixels than ours: of photos that were resized since, or not turned upright."""

import dataclasses
from collections.abc import Callable

import torch

from pipeline.errors import InputError
from pipeline.formats.given_cameras import GivenCamera, GivenPoses, Lens, told_with
from pipeline.frames import upright_cam_from_stored_cam
from pipeline.scene import Photo

Matched = list[tuple[GivenCamera, Photo]]


def fit_to_photos(matched: Matched, given: GivenPoses, warn: Callable[[str], None]) -> Matched:
    """Turn and resize cameras so that they fit their photos, which lie upright here.

    Some programs pose the pixels as they are stored and disregard EXIF's orientation, others turn photos upright
    first. Where a photo was taken on its side, the size of its camera tells which; all others go with those photos,
    or with what the program is known to do.

    Raises:
        InputError: When a photo has another shape than its camera's image, e.g. because it was cropped.
    """
    told = [answer for camera, photo in matched if (answer := _is_as_stored(camera.lens, photo)) is not None]
    as_stored = sum(told) * 2 > len(told) if told else given.as_stored
    turned = [photo.name for _, photo in matched if photo.orientation != 1]
    if as_stored is None and turned:
        warn(
            f"{len(turned)} photos, as {turned[0]}, were turned upright by their EXIF orientation; "
            "the poses are taken to be those of upright photos, and nothing tells whether they are"
        )
    return [(_fitted(camera, photo, bool(as_stored), given), photo) for camera, photo in matched]


def _is_as_stored(lens: Lens, photo: Photo) -> bool | None:
    """Whether the camera's image has the shape of the stored pixels and not of the upright ones; none if of both."""
    if photo.orientation < 5:
        return None
    upright, stored = _has_shape(lens, photo.width, photo.height), _has_shape(lens, photo.height, photo.width)
    return None if upright == stored else stored


def _has_shape(lens: Lens, width: int, height: int) -> bool:
    """Whether an image of this size can be the camera's image resized, each side rounded to pixels."""
    ratio = lens.width / lens.height
    return abs(width - height * ratio) <= 1 + ratio


def _fitted(camera: GivenCamera, photo: Photo, as_stored: bool, given: GivenPoses) -> GivenCamera:
    lens, pose = camera.lens, camera.cam_from_world
    with told_with(camera.name, given.path):
        if as_stored and photo.orientation != 1:
            turn = upright_cam_from_stored_cam(photo.orientation)
            lens = lens.turned(turn)
            pose = torch.block_diag(turn, torch.ones(1, 1, dtype=torch.float64)) @ pose
        if not _has_shape(lens, photo.width, photo.height):
            lying = _has_shape(lens, photo.height, photo.width)
            raise InputError(
                f"is {lens.width}x{lens.height} px here, its photo {photo.width}x{photo.height} px"
                + (": one of them is turned by 90 degrees" if lying else ""),
                remedy="give the photos that were posed; resized ones do, cropped or turned ones do not",
            )
        return dataclasses.replace(camera, lens=lens.resized(photo.width, photo.height), cam_from_world=pose)
