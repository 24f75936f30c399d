"""What a photo's EXIF block says about its camera, and when to believe it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

_FOCAL_LENGTH, _FOCAL_LENGTH_35MM, _DIGITAL_ZOOM = 0x920A, 0xA405, 0xA404
_PIXEL_WIDTH, _PIXEL_HEIGHT = 0xA002, 0xA003
_FOCAL_PLANE_X_RESOLUTION, _FOCAL_PLANE_UNIT = 0xA20E, 0xA210
_MAKE, _MODEL = 0x010F, 0x0110
_EXPOSURE_TIME, _F_NUMBER, _SENSITIVITY = 0x829A, 0x829D, 0x8827
_MM_PER_UNIT = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}
_DIAGONAL_35MM = math.hypot(36.0, 24.0)
# Shapes that cameras record. 1:1 and 5:4 are what people crop to, and a crop makes the focal length wrong.
_UNCROPPED = (3 / 2, 4 / 3, 16 / 9)
_ASPECT_TOLERANCE = 0.02
_FOCAL_RANGE = (0.3, 5.0)
_SENSOR_WIDTH_RANGE_MM = (4.5, 60.0)
_EXPOSURE_RANGE = (1e-7, 1e8)  # an hour at ISO 100 and f/1 is 4e5, 1/32000 s at f/32 3e-6


@dataclass(frozen=True, kw_only=True)
class Focal:
    """What EXIF says about the focal length.

    Attributes:
        px: In pixels of the photo, or none when absent or not to be trusted.
        suspect: Whether there is one that is not to be trusted.
        hint_px: A suspect one, as if no more was cropped than the photo's shape tells: a lower bound.
        notes: Why it is not trusted, for the report.
    """

    px: float | None = None
    suspect: bool = False
    hint_px: float | None = None
    notes: tuple[str, ...] = ()


def _number(tags: Mapping[int, object], tag: int) -> float:
    """A tag (of several values the first) as a positive finite number, or 0 when it is absent or nonsense."""
    value = tags.get(tag, 0)
    try:
        value = float(value[0] if isinstance(value, tuple) else value)  # type: ignore[arg-type]
    except (TypeError, ValueError, IndexError, ZeroDivisionError, OverflowError):
        return 0.0
    return value if math.isfinite(value) and value > 0 else 0.0


def focal_from_exif(tags: Mapping[int, object], *, width: int, height: int) -> Focal:
    """Focal length of a photo of this size.

    The 35 mm equivalent is converted by the diagonal (CIPA DCG-001); else the focal length times the
    resolution of the focal plane. Both describe the photo as it was taken, so they are not trusted after digital zoom
    or a crop, which a shape that no camera records gives away, or another one than EXIF's own size has. A photo that
    was merely resized keeps them.

    Args:
        tags: Values by EXIF tag number.
        width: Width of the photo in pixels.
        height: Height of the photo in pixels.
    """
    long, short = max(width, height), min(width, height)
    doubt, sensor = _doubt(tags, long / short)
    full_long = float(max(long, short * sensor))  # the least that an uncropped photo had
    full = math.hypot(full_long, full_long / sensor)
    focal = _number(tags, _FOCAL_LENGTH_35MM) / _DIAGONAL_35MM * full or _focal_from_focal_plane(tags, full_long)
    low, high = _FOCAL_RANGE
    if focal and not low * long <= focal <= high * long:
        ratio = f"{focal / long:.2g} times the photo's long side, outside {low:g} to {high:g}"
        return Focal(suspect=True, notes=(f"EXIF's focal length is absurd and ignored: {ratio}",))
    if doubt and (focal or _number(tags, _FOCAL_LENGTH)):
        return Focal(suspect=True, hint_px=focal or None, notes=(f"EXIF's focal length is not trusted: {doubt}",))
    return Focal(px=focal or None)


def exposure_from_exif(tags: Mapping[int, object]) -> float | None:
    """How bright a photo shows what it shows: seconds times ISO over the f-number's square.

    None where one of them is absent or absurd. It compares photos of one camera; how bright that one
    shows a scene is not in it.
    """
    seconds, f_number, sensitivity = (_number(tags, tag) for tag in (_EXPOSURE_TIME, _F_NUMBER, _SENSITIVITY))
    exposure = seconds / f_number * sensitivity / f_number if f_number else 0.0
    return exposure if _EXPOSURE_RANGE[0] < exposure < _EXPOSURE_RANGE[1] else None


def _doubt(tags: Mapping[int, object], shape: float) -> tuple[str, float]:
    """Why a photo of this shape (long by short side) does not show all that its sensor saw, and the sensor's shape."""
    recorded = sorted((_number(tags, _PIXEL_WIDTH), _number(tags, _PIXEL_HEIGHT)))
    if recorded[0] and abs(recorded[1] / recorded[0] / shape - 1) > _ASPECT_TOLERANCE:
        return f"the photo was cropped from {recorded[1]:.0f} x {recorded[0]:.0f} px", recorded[1] / recorded[0]
    if not any(abs(shape / aspect - 1) < _ASPECT_TOLERANCE for aspect in _UNCROPPED):
        return f"the photo seems to be cropped, as no sensor is {shape:.2f} : 1", _UNCROPPED[0]
    if (zoom := _number(tags, _DIGITAL_ZOOM)) > 1.01:
        return f"digital zoom of {zoom:.3g}", shape
    return "", shape


def _focal_from_focal_plane(tags: Mapping[int, object], long: float) -> float:
    """Focal length in pixels from the sensor's pixel density, or 0; a resized photo's density is scaled along."""
    per_unit = _number(tags, _FOCAL_PLANE_X_RESOLUTION)
    recorded = max(_number(tags, _PIXEL_WIDTH), _number(tags, _PIXEL_HEIGHT))
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
