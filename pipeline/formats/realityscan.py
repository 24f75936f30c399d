"""RealityScan's (formerly RealityCapture's) camera exports: "Internal/External camera parameters" and XMP files.

Sources: the vendor's "RealityCapture XMP Camera Math" (https://dev.epicgames.com/community/learning/knowledge-base/vzwB)
and "Camera Geometry in RealityScan" (https://dev.epicgames.com/documentation/realityscan).

- The table has a line `#name,x,y,alt,heading,pitch,roll,f,px,py,k1,k2,k3,k4,t1,t2` (columns may be left out) and one
  line for each camera. Its world has +z up; (x, y, alt) is the camera's centre. Angles are in degrees. With all
  angles zero the camera looks down, its top towards +y; then it is rolled about its y axis, pitched about x, and
  turned by the heading, clockwise from above: world_from_gl_cam = Rz(-heading) Rx(pitch) Ry(roll), OpenGL axes.
- An XMP file beside each photo (`a.xmp` of `a.jpg`) has `Rotation`, world-to-camera by rows with OpenCV axes, and
  `Position`, the camera's centre. For example, a camera that was exported both ways
  (https://forums.unrealengine.com/t/710449) has the heading 163.736597399311, pitch 83.4154313461628, roll
  174.386496244756, and the first row 0.982594073038806 0.185426733553445 -0.0112166890261935.
- With s = max(width, height): the focal length in pixels is f s / 36 (f as for 36 mm film), the principal point lies
  (px, py) s from the middle of the image, y down.
- Distortion (brown3) is the polynomial k1 k2 k3 of OpenCV. t1 and t2 (brown3t2) are taken to be OpenCV's p1 and p2: the
  vendor does not write their order down.
"""

import csv
from pathlib import Path
from xml.etree.ElementTree import Element

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.errors import InputError
from pipeline.formats.files import read_regular
from pipeline.formats.given_cameras import GivenCamera, GivenPoses, Lens, SizeOf, number, numbers, rigid, told_with
from pipeline.formats.xml_tree import read_xml
from pipeline.frames import cam_from_world_from_gl_pose

POSE_COLUMNS = ("name", "x", "y", "alt", "heading", "pitch", "roll", "f")
PRINCIPAL_COLUMNS = ("px", "py")  # these and the next may be left out
DISTORTION_COLUMNS = ("k1", "k2", "k3", "k4", "t1", "t2")
XMP_MARK = b"xcr:Rotation"
_XCR = "{http://www.capturingreality.com/ns/xcr/1.1#}"
_FILM_MM = 36.0
_MAX_BYTES = 64 * 2**20
_MAX_XMP_BYTES = 16 * 2**20
_MODELS = ("perspective", "brown3", "brown3t2", "brown4", "brown4t2")


def is_table(first_bytes: bytes) -> bool:
    """Whether a file starts like a table of cameras."""
    lines = first_bytes.decode("utf-8-sig", "replace").splitlines()
    return _header(lines)[1] is not None


def _header(lines: list[str]) -> tuple[int, list[str] | None]:
    """The index of the line that names the columns, and the names, or none."""
    for index, line in enumerate(lines[:2]):  # some exports count the cameras in a line before
        columns = [word.strip().lstrip("#").lower() for word in line.split(",")]
        if set(POSE_COLUMNS) <= set(columns):
            return index, columns
    return 0, None


def read_table(path: Path, size_of: SizeOf) -> GivenPoses:
    """Read the table at `path`; cameras whose photo is not there are passed over, for the table has no sizes.

    Raises:
        InputError: When it is no such table, or a line of it is damaged.
    """
    try:
        text = read_regular(path, max_bytes=_MAX_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"is no UTF-8 text: {error}", path=path) from error
    lines = text.splitlines()
    start, columns = _header(lines)
    if columns is None:
        raise InputError("has no line that names the columns", path=path, remedy=f"needed: {','.join(POSE_COLUMNS)}")
    try:
        rows = [words for words in csv.reader(lines[start + 1 :]) if words]
    except csv.Error as error:
        raise InputError(f"is no table: {error}", path=path) from error
    cameras = []
    for index, words in enumerate(rows, start=1):
        with told_with(f"camera {index} ({words[0][:200]})", path):
            cameras.append(_table_camera(words, columns, size_of))
    return _poses(path, [camera for camera in cameras if camera is not None], len(rows))


def _poses(path: Path, cameras: list[GivenCamera], total: int) -> GivenPoses:
    if total == 0:
        raise InputError("holds no cameras", path=path)
    tangential = any(any(c.lens.distortion[2:4]) for c in cameras)
    note = "the tangential distortion t1, t2 is taken in OpenCV's order, which the vendor does not document"
    return GivenPoses(
        program="RealityScan",
        as_stored=None,
        path=path,
        cameras=tuple(cameras),
        total=total,
        notes=(note,) if tangential else (),
    )


def _table_camera(words: list[str], columns: list[str], size_of: SizeOf) -> GivenCamera | None:
    """The camera of a line, or none when its photo is not there."""
    if len(words) != len(columns):
        raise InputError(f"has {len(words)} values for {len(columns)} columns")
    row = dict(zip(columns, (word.strip() for word in words), strict=True))
    v = dict.fromkeys((*PRINCIPAL_COLUMNS, *DISTORTION_COLUMNS), 0.0)
    v |= {key: number(value, key) for key, value in row.items() if key in v or key in POSE_COLUMNS[1:]}
    size = size_of(row["name"])
    if size is None:
        return None
    lens = _lens(v["f"], (v["px"], v["py"]), [v[key] for key in DISTORTION_COLUMNS], size)
    rotation = _rotation(-v["heading"], 2) @ _rotation(v["pitch"], 0) @ _rotation(v["roll"], 1)
    world_from_gl_cam = rigid(rotation, [v["x"], v["y"], v["alt"]])
    return GivenCamera(name=row["name"], lens=lens, cam_from_world=cam_from_world_from_gl_pose(world_from_gl_cam))


def _rotation(angle_deg: float, axis: int) -> Float[Tensor, "3 3"]:
    """A right-handed rotation about x (0), y (1) or z (2)."""
    angle = torch.deg2rad(torch.tensor(angle_deg, dtype=torch.float64))
    first, second = (axis + 1) % 3, (axis + 2) % 3
    rotation = torch.eye(3, dtype=torch.float64)
    rotation[first, first] = rotation[second, second] = torch.cos(angle)
    rotation[second, first] = torch.sin(angle)
    rotation[first, second] = -torch.sin(angle)
    return rotation


def _lens(focal_mm: float, principal: tuple[float, float], coefficients: list[float], size: tuple[int, int]) -> Lens:
    k1, k2, k3, k4, t1, t2 = coefficients
    if k4:
        raise InputError(f"k4 = {k4:g} cannot be undistorted", remedy="align with the distortion model Brown3")
    width, height = size
    scale = max(size)
    return Lens(
        model="FULL_OPENCV",
        fx=focal_mm * scale / _FILM_MM,
        fy=focal_mm * scale / _FILM_MM,
        cx=width / 2 + principal[0] * scale,
        cy=height / 2 + principal[1] * scale,
        distortion=(k1, k2, t1, t2, k3, 0.0, 0.0, 0.0),
        width=width,
        height=height,
    )


def xmp_files(folder: Path) -> tuple[Path, ...]:
    """XMP files with a pose in `folder`; other programs leave XMP files, too, e.g. for the development of RAW."""
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() == ".xmp" and p.is_file())
    return tuple(p for p in found if p.stat().st_size <= _MAX_XMP_BYTES and XMP_MARK in p.read_bytes())


def read_xmp_folder(folder: Path, size_of: SizeOf) -> GivenPoses:
    """Read the XMP files in `folder`; those without a photo are passed over, for they have no sizes.

    Raises:
        InputError: When there is none, or one is damaged.
    """
    cameras: list[GivenCamera] = []
    files = xmp_files(folder)
    for path in files:
        size = size_of(path.stem)
        if size is not None:
            with told_with("its camera", path):
                cameras.append(_xmp_camera(read_xml(path, max_bytes=_MAX_XMP_BYTES), path.stem, size))
    return _poses(folder, cameras, len(files))


def _xmp_camera(root: Element, name: str, size: tuple[int, int]) -> GivenCamera:
    values: dict[str, str] = {}
    for element in root.iter():  # a value is an attribute of the description, or an element inside it
        values.update({k.removeprefix(_XCR): v for k, v in element.attrib.items() if k.startswith(_XCR)})
        if element.tag.startswith(_XCR):
            values[element.tag.removeprefix(_XCR)] = element.text or ""
    model = values.get("DistortionModel", "perspective")
    if model not in _MODELS:
        raise InputError(f"has the distortion model {model[:40]!r}; read are {', '.join(_MODELS)}")
    if number(values.get("Skew", "0"), "Skew") != 0 or number(values.get("AspectRatio", "1"), "AspectRatio") != 1:
        raise InputError("has skew, or pixels that are not square")
    coefficients = numbers(values.get("DistortionCoeficients", "0 0 0 0 0 0"), 6, "DistortionCoeficients")
    principal = [number(values.get(f"PrincipalPoint{axis}", "0"), f"PrincipalPoint{axis}") for axis in "UV"]
    focal = number(values.get("FocalLength35mm"), "FocalLength35mm")
    rotation = torch.tensor(numbers(values.get("Rotation"), 9, "Rotation"), dtype=torch.float64).view(3, 3)
    center = torch.tensor(numbers(values.get("Position"), 3, "Position"), dtype=torch.float64)
    lens = _lens(focal, (principal[0], principal[1]), coefficients, size)
    return GivenCamera(name=name, lens=lens, cam_from_world=rigid(rotation, (-rotation @ center).tolist()))
