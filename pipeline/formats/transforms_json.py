"""Cameras in NeRF-style `transforms.json` files: camera-to-world matrices with OpenGL axes.

The frame of such a file is whatever its maker chose; nothing here turns it to the project's world.
Lights and other files that it may name are never opened.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from pipeline.errors import InputError
from pipeline.formats.files import read_regular, write_atomic
from pipeline.formats.given_cameras import MAX_SIDE_PX, GivenCamera, GivenPoses, Lens, SizeOf, moved_pose, told_with
from pipeline.formats.images import image_size
from pipeline.frames import cam_from_world_from_gl_pose, check_rigid, gl_pose_from_cam_from_world
from pipeline.scene import Camera

_MAX_BYTES = 64 * 2**20
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".avif")
_DISTORTION = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")
_PERSPECTIVE_KEYS = ("k1", "k2", "p1", "p2", "k3")
_FISHEYE_KEYS = ("k1", "k2", "k3", "k4")
_PERSPECTIVE = ("PINHOLE", "SIMPLE_PINHOLE", "OPENCV", "SIMPLE_RADIAL", "RADIAL", "FULL_OPENCV")


@dataclass(frozen=True, eq=False, kw_only=True)
class PosedFrame:
    """One frame of a transforms file.

    Attributes:
        name: The photo's file name without folder and extension.
        file_path: The photo as the file names it.
        image_path: The photo beside the json, or none when it is not there (then match it by `name`).
        mask_path: The mask that the frame names, or none.
        camera: Its camera in the frame of the file, in float64.
    """

    name: str
    file_path: str
    image_path: Path | None
    mask_path: Path | None
    camera: Camera


def read_transforms(path: Path) -> tuple[PosedFrame, ...]:
    """Read the cameras of a `transforms.json`, in its own world frame.

    Intrinsics (`fl_x fl_y cx cy w h`, pixels, corner-based; or `camera_angle_x`, radians) may stand at the top
    or in each frame; a missing principal point is the centre, a missing size is that of the photo.

    Raises:
        InputError: When the file is not such a file, carries lens distortion, names a mask that is not there,
            or a pose is not finite, mirrored or scaled.
    """
    shared = _parse(path)
    frames = _frames(shared, path)
    return tuple(_read_frame(frame, index, shared, path) for index, frame in enumerate(frames))


def read_transforms_by_name(path: Path) -> dict[str, PosedFrame]:
    """The frames of a `transforms.json` by name, to be matched with photos; errors as in `read_transforms`.

    Raises:
        InputError: Also when two frames have one name.
    """
    by_name: dict[str, PosedFrame] = {}
    for frame in read_transforms(path):
        other = by_name.setdefault(frame.name, frame)
        if other is not frame:
            raise InputError(f"{other.file_path!r} and {frame.file_path!r} share one name", path=path)
    return by_name


def _parse(path: Path) -> dict[str, Any]:
    try:
        parsed = json.loads(read_regular(path, max_bytes=_MAX_BYTES))
    except (ValueError, RecursionError) as error:
        raise InputError(f"is not valid JSON: {error}", path=path) from error
    if not isinstance(parsed, dict):
        raise InputError("is not a JSON object", path=path)
    return parsed


def read_given_transforms(path: Path, size_of: SizeOf) -> GivenPoses:
    """Read the cameras of a `transforms.json` with their lenses, for photos to be matched with.

    As `read_transforms`, but lenses may be distorted (OPENCV k1 k2 k3 p1 p2, OPENCV_FISHEYE k1..k4), a missing size is
    that of the photo, and a frame whose size nobody knows is passed over. nerfstudio's `train_filenames` and the like
    tell frames that are held out. Its `applied_transform` and `applied_scale`, by which the cameras were moved after
    they were solved, are undone: the frame is that of the program that solved them.

    Raises:
        InputError: When the file is not such a file, or a lens or pose is impossible.
    """
    shared = _parse(path)
    frames = _frames(shared, path)
    solved_from_file = _undo_applied(shared, path)
    held_out = _held_out(shared, frames, path)
    cameras = []
    for index, frame in enumerate(frames):
        file_path = _file_path(frame, index, path)
        with told_with(f"frame {index} ({_stem(file_path)})", path):
            lens = _read_lens({**shared, **frame}, partial(size_of, file_path))
            if lens is None or file_path in held_out:
                continue
            pose = moved_pose(_cam_from_world(_matrix(frame.get("transform_matrix"))), solved_from_file)
            cameras.append(GivenCamera(name=file_path, lens=lens, cam_from_world=pose))
    return GivenPoses(
        program="transforms.json",
        as_stored=None,
        path=path,
        cameras=tuple(cameras),
        total=len(frames),
        held_out=tuple(held_out),
    )


def _frames(shared: Mapping[str, Any], path: Path) -> list[Any]:
    frames = shared.get("frames")
    if not isinstance(frames, list) or not frames:
        raise InputError("holds no list of frames", path=path, remedy="a transforms.json of NeRF's form is needed")
    return frames


def _file_path(frame: object, index: int, path: Path) -> str:
    file_path = frame.get("file_path") if isinstance(frame, dict) else None
    if not isinstance(file_path, str) or not file_path:
        raise InputError(f"frame {index} names no file_path", path=path)
    return file_path


def _stem(file_path: str) -> str:
    posix = PurePosixPath(file_path.replace("\\", "/"))
    return posix.stem if posix.suffix.lower() in _SUFFIXES else posix.name


def _held_out(shared: Mapping[str, Any], frames: list[Any], path: Path) -> set[str]:
    """The photos that nerfstudio's lists of file names keep for testing."""
    lists: dict[str, set[PurePosixPath]] = {}
    for split in ("train", "val", "test"):
        names = shared.get(f"{split}_filenames", [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InputError(f"{split}_filenames is no list of names", path=path)
        lists[split] = {PurePosixPath(name) for name in names}  # "./a" is "a"
    named = {_file_path(frame, index, path) for index, frame in enumerate(frames)}
    held_out = lists["val"] | lists["test"]
    if lists["train"]:
        return {name for name in named if PurePosixPath(name) not in lists["train"]}
    return {name for name in named if PurePosixPath(name) in held_out}


def _undo_applied(shared: Mapping[str, Any], path: Path) -> torch.Tensor:
    """The similarity from the frame of the file to the one that its cameras were solved in."""
    with told_with("applied_transform", path):
        applied = _matrix(shared.get("applied_transform", torch.eye(4).tolist()), "it")
        check_rigid(applied, "it")
        scale = _number(shared, "applied_scale", 1.0)
        if not 1e-9 < scale < 1e9:
            raise InputError(f"its applied_scale is {scale:g}")
    return torch.linalg.inv(torch.diag(torch.tensor([scale, scale, scale, 1.0], dtype=torch.float64)) @ applied)


def _read_frame(frame: object, index: int, shared: Mapping[str, Any], path: Path) -> PosedFrame:
    file_path = _file_path(frame, index, path)
    values = {**shared, **(frame if isinstance(frame, dict) else {})}
    name = _stem(file_path)
    image_path = _find_image(path.parent, PurePosixPath(file_path.replace("\\", "/")))
    with told_with(f"frame {index} ({name})", path):
        _refuse_distortion(values)
        lens = _read_lens(values, lambda: None if image_path is None else image_size(image_path))
        if lens is None:
            raise InputError("has no size (w, h), and its photo is not beside the file")
        pose = _cam_from_world(_matrix(values.get("transform_matrix")))
        camera = Camera(K=lens.K, cam_from_world=pose, width=lens.width, height=lens.height)
        mask_path = _find_mask(path.parent, frame.get("mask_path") if isinstance(frame, dict) else None)
    return PosedFrame(name=name, file_path=file_path, image_path=image_path, mask_path=mask_path, camera=camera)


def _read_lens(values: Mapping[str, Any], known_size: Callable[[], tuple[int, int] | None]) -> Lens | None:
    """The lens of a frame; none when neither the file nor the photo tells its size."""
    if "w" in values and "h" in values:
        size: tuple[int, int] | None = (_size(values, "w"), _size(values, "h"))
    else:
        size = known_size()
    if size is None:
        return None
    width, height = size
    fl_x = _focal(values, "x", width)
    fl_y = _focal(values, "y", height) or fl_x
    fl_x = fl_x or fl_y
    if not fl_x or not fl_y:
        raise InputError("has no focal length (fl_x or camera_angle_x)")
    model, distortion = _distortion(values)
    return Lens(
        model=model,
        fx=fl_x,
        fy=fl_y,
        cx=_number(values, "cx", width / 2),
        cy=_number(values, "cy", height / 2),
        distortion=distortion,
        width=width,
        height=height,
    )


def _distortion(values: Mapping[str, Any]) -> tuple[str, tuple[float, ...]]:
    """COLMAP's model and parameters; unlike OpenCV's, the k4 of nerfstudio's perspective camera is a factor of r^8."""
    model = "OPENCV_FISHEYE" if values.get("is_fisheye") else values.get("camera_model", "PINHOLE")
    if model not in (*_PERSPECTIVE, "OPENCV_FISHEYE"):
        raise InputError(f"camera_model = {str(model)[:40]!r} is not read", remedy="OPENCV and OPENCV_FISHEYE are")
    v = {key: _number(values, key, 0.0) for key in _DISTORTION}
    fisheye = model == "OPENCV_FISHEYE"
    read = _FISHEYE_KEYS if fisheye else _PERSPECTIVE_KEYS
    if others := [f"{key} = {value:g}" for key, value in v.items() if value and key not in read]:
        raise InputError(f"{', '.join(others)} cannot be undistorted", remedy="give undistorted photos and their poses")
    distortion = tuple(v[key] for key in read)
    return ("OPENCV_FISHEYE", distortion) if fisheye else ("FULL_OPENCV", (*distortion, 0.0, 0.0, 0.0))


def _cam_from_world(pose: torch.Tensor) -> torch.Tensor:
    """Invert the pose after looking at it: a singular matrix has no inverse to complain about."""
    if not bool(torch.isfinite(pose).all()):
        raise InputError("its transform_matrix is not finite")
    det = float(torch.linalg.det(pose[:3, :3]))
    if abs(det - 1) > 0.01:
        hint = "mirrored" if det < 0 else "scaled or singular"
        raise InputError(f"its transform_matrix is {hint}: determinant {det:.3g} instead of 1")
    return cam_from_world_from_gl_pose(pose)


def _refuse_distortion(values: Mapping[str, Any]) -> None:
    bent = [f"{key} = {values[key]}" for key in _DISTORTION if key in values and _number(values, key, 0.0) != 0]
    model = values.get("camera_model", "PINHOLE")
    if model not in _PERSPECTIVE or values.get("is_fisheye"):
        bent.append(f"camera_model = {model}")
    if bent:
        raise InputError(f"has lens distortion ({', '.join(bent)})", remedy="give undistorted photos and their poses")


def _number(values: Mapping[str, Any], key: str, default: float) -> float:
    value = values.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
        raise InputError(f"{key} = {value!r} is not a finite number")
    return float(value)


def _size(values: Mapping[str, Any], key: str) -> int:
    value = _number(values, key, 0.0)
    if not (1 <= value <= MAX_SIDE_PX and value == round(value)):
        raise InputError(f"{key} = {value:g} is not a size in whole pixels")
    return round(value)


def _focal(values: Mapping[str, Any], axis: str, size_px: int) -> float | None:
    if f"fl_{axis}" in values:
        return _number(values, f"fl_{axis}", 0.0)
    if f"camera_angle_{axis}" not in values:
        return None
    angle = _number(values, f"camera_angle_{axis}", 0.0)
    if not 0 < angle < math.pi:
        raise InputError(f"camera_angle_{axis} = {angle:g} is not between 0 and pi")
    return 0.5 * size_px / math.tan(0.5 * angle)


def _matrix(rows: object, what: str = "its transform_matrix") -> torch.Tensor:
    """A 4 x 4 (or 3 x 4) list of numbers as a float64 matrix."""
    try:
        matrix = torch.tensor(rows, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise InputError(f"{what} is not a matrix of numbers: {str(error)[:80]}") from error
    last = torch.tensor([[0.0, 0.0, 0.0, 1.0]], dtype=torch.float64)
    if matrix.shape == (3, 4):
        matrix = torch.cat([matrix, last])
    if matrix.shape != (4, 4):
        raise InputError(f"{what} has the shape {tuple(matrix.shape)} instead of (4, 4)")
    if not torch.allclose(matrix[3:], last, atol=1e-6):
        raise InputError(f"{what} ends in {matrix[3].tolist()} instead of [0, 0, 0, 1]")
    return matrix


def _inside(folder: Path, posix: PurePosixPath) -> Path | None:
    """The path below `folder`, or none when it is absolute or climbs out."""
    return None if posix.is_absolute() or ".." in posix.parts else folder / posix


def _find_image(folder: Path, posix: PurePosixPath) -> Path | None:
    path = _inside(folder, posix)
    if path is None:
        return None
    suffixes = ("", *_SUFFIXES, *(suffix.upper() for suffix in _SUFFIXES))
    candidates = (path.with_name(path.name + suffix) for suffix in suffixes)
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _find_mask(folder: Path, mask_path: object) -> Path | None:
    if mask_path is None:
        return None
    path = _inside(folder, PurePosixPath(mask_path.replace("\\", "/"))) if isinstance(mask_path, str) else None
    if path is None:
        raise InputError(f"mask_path {mask_path!r} does not lie beside the file")
    if not path.is_file():
        raise InputError(f"mask_path {mask_path!r} does not exist")
    return path


def write_cameras(path: Path, cameras: Mapping[str, Camera]) -> None:
    """Write `cameras.json`: the same format, one frame per photo name, poses in the asset's glTF frame.

    The top level describes the first camera; a frame repeats intrinsics only where it differs from it.

    Raises:
        InputError: When there is no camera, or one has skew, which the format cannot say.
    """
    if not cameras:
        raise InputError("no cameras to write", path=path)
    described = {name: _intrinsics(name, camera) for name, camera in cameras.items()}
    first = next(iter(described.values()))
    frames = []
    for name, camera in cameras.items():
        own = {} if described[name] == first else described[name]
        pose = gl_pose_from_cam_from_world(camera.cam_from_world.cpu())
        frames.append({"file_path": name, **own, "transform_matrix": pose.tolist()})
    write_atomic(path, (json.dumps({**first, "frames": frames}, indent=1, allow_nan=False) + "\n").encode())


def _intrinsics(name: str, camera: Camera) -> dict[str, float]:
    (fl_x, skew, cx), (_, fl_y, cy), _ = camera.K.tolist()
    if abs(skew) > 1e-9 * fl_x:
        raise InputError(f"the camera of {name} has skew {skew:g} px, which transforms.json cannot express")
    angle = 2 * math.atan(camera.width / 2 / fl_x)
    size = {"w": camera.width, "h": camera.height}
    return {"camera_angle_x": angle, "fl_x": fl_x, "fl_y": fl_y, "cx": cx, "cy": cy, **size}
