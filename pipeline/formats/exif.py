"""What a photo's EXIF block says about its camera, and when to believe it."""

import math
from collections.abc import Mapping

_FOCAL_LENGTH, _FOCAL_LENGTH_35MM, _DIGITAL_ZOOM = 0x920A, 0xA405, 0xA404
_PIXEL_WIDTH, _FOCAL_PLANE_X_RESOLUTION, _FOCAL_PLANE_UNIT = 0xA002, 0xA20E, 0xA210
_MAKE, _MODEL = 0x010F, 0x0110
_MM_PER_UNIT = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}
_DIAGONAL_35MM = math.hypot(36.0, 24.0)
# Shapes that cameras record. 1:1 and 5:4 are what people crop to, and a crop makes the focal length wrong.
_UNCROPPED = (3 / 2, 4 / 3, 16 / 9)
_ASPECT_TOLERANCE = 0.02
_FOCAL_RANGE = (0.3, 5.0)
_SENSOR_WIDTH_RANGE_MM = (4.5, 60.0)


def _number(tags: Mapping[int, object], tag: int) -> float:
    """A tag as a positive finite number, or 0 when it is absent or nonsense."""
    try:
        value = float(tags.get(tag, 0))  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return 0.0
    return value if math.isfinite(value) and value > 0 else 0.0


def focal_from_exif(tags: Mapping[int, object], *, width: int, height: int) -> float | None:
    """Focal length in pixels of a photo of this size, or none when it is absent or not to be trusted.

    The 35 mm equivalent is converted by the diagonal (CIPA DCG-001); else the focal length times the
    resolution of the focal plane. Both describe the photo as it was taken, so a shape that no camera
    records (a crop), digital zoom, and results outside 0.3 to 5 times the long side are not trusted.

    Args:
        tags: Values by EXIF tag number.
        width: Width of the photo in pixels.
        height: Height of the photo in pixels.
    """
    long, short = max(width, height), min(width, height)
    if not any(abs(long / short / aspect - 1) < _ASPECT_TOLERANCE for aspect in _UNCROPPED):
        return None
    if _number(tags, _DIGITAL_ZOOM) > 1.01:
        return None
    focal = _number(tags, _FOCAL_LENGTH_35MM) / _DIAGONAL_35MM * math.hypot(width, height)
    focal = focal or _focal_from_focal_plane(tags, long)
    return focal if _FOCAL_RANGE[0] * long <= focal <= _FOCAL_RANGE[1] * long else None


def _focal_from_focal_plane(tags: Mapping[int, object], long: int) -> float:
    """Focal length in pixels from the sensor's pixel density, or 0; a resized photo's density is scaled along."""
    per_unit = _number(tags, _FOCAL_PLANE_X_RESOLUTION)
    recorded = _number(tags, _PIXEL_WIDTH)
    mm_per_unit = _MM_PER_UNIT.get(int(_number(tags, _FOCAL_PLANE_UNIT)) or 2, 0.0)
    if not (per_unit and recorded and mm_per_unit):
        return 0.0
    sensor_mm = recorded / per_unit * mm_per_unit
    if not _SENSOR_WIDTH_RANGE_MM[0] <= sensor_mm <= _SENSOR_WIDTH_RANGE_MM[1]:
        return 0.0
    return _number(tags, _FOCAL_LENGTH) / sensor_mm * long


def camera_label(tags: Mapping[int, object], *, width: int, height: int) -> str:
    """Make, model, focal length and size in one line: photos with one label may share intrinsics."""
    words = [_text(tags.get(_MAKE)), _text(tags.get(_MODEL))]
    focal_mm = _number(tags, _FOCAL_LENGTH)
    words.append(f"{focal_mm:.4g}mm" if focal_mm else "")
    return " ".join([*(filter(None, words)), f"{width}x{height}"])


def _text(value: object) -> str:
    """A tag's text without control characters, at most 64 characters."""
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value or "")
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:64]
