"""Colour profiles inside pictures: everything becomes sRGB."""

import io

import numpy as np
from PIL import Image, ImageCms


def converted_to_srgb(image: Image.Image, rgb: Image.Image, notes: list[str]) -> Image.Image | None:
    """The picture converted from its colour profile to sRGB, or none when it is sRGB already; adds to `notes`.

    Args:
        image: The picture as stored, with its profile.
        rgb: The same as 8-bit RGB.
        notes: What is done is noted here.
    """
    notes += ["grey, no colour"] if _source_mode(image) == "L" else []
    notes += ["CMYK converted to RGB"] if image.mode == "CMYK" else []
    icc = image.info.get("icc_profile")
    if not icc:
        return None
    try:
        converted, name = _convert(image, rgb, icc)
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        notes.append("unusable colour profile ignored")
        return None
    notes += [f"converted to sRGB from {name}"] if converted else []
    return converted


def _source_mode(image: Image.Image) -> str:
    """The colour model that a profile inside the picture has to describe."""
    if image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I;16"):
        return "L"
    return "CMYK" if image.mode == "CMYK" else "RGB"


def _convert(image: Image.Image, rgb: Image.Image, icc: bytes) -> tuple[Image.Image | None, str]:
    """The picture converted from its profile to sRGB, or none when the profile is sRGB, and the profile's name."""
    source = _source_mode(image)
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    name = " ".join(ImageCms.getProfileDescription(profile).split())[:64]
    to_srgb = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), source, "RGB")
    if source == "RGB" and _is_identity(to_srgb):
        return None, name
    return ImageCms.applyTransform(image if source == "CMYK" else rgb.convert(source), to_srgb), name


def _is_identity(to_srgb: ImageCms.ImageCmsTransform) -> bool:
    """Whether a transform of 8-bit RGB moves no colour of a 9 x 9 x 9 cube by more than 2 levels."""
    axis = np.linspace(0, 255, 9).round().astype(np.uint8)
    cube = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(27, 27, 3)
    moved = ImageCms.applyTransform(Image.fromarray(cube), to_srgb)
    return bool(np.abs(np.asarray(moved).astype(int) - cube).max() <= 2)
