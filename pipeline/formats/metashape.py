"""Agisoft Metashape's camera export ("Agisoft XML", File > Export > Export Cameras).

Source: Metashape Professional's manual, appendix "Camera models", and the elements of the file itself.

- A camera's `transform` is camera-to-chunk, row by row, with OpenCV axes (+x right, +y down, +z forward); a camera
  without one was not aligned.
- The `transform` of its component (of the chunk in older files) is the similarity from the chunk to the world:
  x -> scale * rotation x + translation. Without one, the chunk is the world.
- A frame camera projects (X, Y, Z) to pixels whose first centre is (0.5, 0.5), with x = X/Z, y = Y/Z, r^2 = x^2 + y^2:

      x' = x (1 + k1 r^2 + k2 r^4 + k3 r^6 + k4 r^8) + p1 (r^2 + 2 x^2) + 2 p2 x y
      y' = y (1 + k1 r^2 + k2 r^4 + k3 r^6 + k4 r^8) + p2 (r^2 + 2 y^2) + 2 p1 x y
      u = w/2 + cx + x' (f + b1) + y' b2
      v = h/2 + cy + y' f

  So OpenCV's p1 is Metashape's p2, and the other way round. For example, w = 4000, h = 3000, f = 3000, cx = 10,
  cy = -5, p1 = 0.001 and the point (1, 0.5, 2): x = 0.5, y = 0.25, r^2 = 0.3125, x' = 0.5008125, y' = 0.25025,
  u = 3512.4375, v = 2245.75.
- A fisheye camera has x and y multiplied by atan(r) / r beforehand: COLMAP's THIN_PRISM_FISHEYE without prism.
"""

from pathlib import Path
from xml.etree.ElementTree import Element

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.errors import InputError
from pipeline.formats.given_cameras import GivenCamera, GivenPoses, Lens, moved_pose, number, numbers, rigid, told_with
from pipeline.formats.xml_tree import read_xml
from pipeline.frames import check_rigid

_MAX_BYTES = 256 * 2**20
_NUMBERS = ("cx", "cy", "b1", "b2", "k1", "k2", "k3", "k4", "p1", "p2")  # zero when absent; f must be there


def read_metashape(path: Path) -> GivenPoses:
    """Read the aligned cameras of all chunks, in the frame of the chunk's world.

    Raises:
        InputError: When the file is no such export, or a calibration or pose is impossible.
    """
    root = read_xml(path, max_bytes=_MAX_BYTES)
    chunks = [root] if root.tag == "chunk" else root.findall("chunk")
    elements = [(chunk, camera) for chunk in chunks for camera in chunk.iterfind("./cameras//camera")]
    if root.tag not in ("document", "chunk") or not elements:
        raise InputError(
            "holds no cameras of Metashape", path=path, remedy="use File > Export > Export Cameras, Agisoft XML"
        )
    if sum(any(_is_solved(c) for c in chunk.iterfind("./cameras//camera")) for chunk in chunks) > 1:
        raise InputError("holds several aligned chunks, each in its own frame", path=path, remedy="export one chunk")
    cameras = [_camera(chunk, camera, path) for chunk, camera in elements if _is_solved(camera)]
    if not cameras:
        raise InputError(f"none of its {len(elements)} cameras is aligned", path=path)
    notes = []
    if any(chunk.find("./sensors/sensor/rolling_shutter") is not None for chunk in chunks):
        notes.append("the file describes a rolling shutter, which is not corrected")
    return GivenPoses(
        program="Metashape", as_stored=True, path=path, cameras=tuple(cameras), total=len(elements), notes=tuple(notes)
    )


def _is_solved(camera: Element) -> bool:
    """Whether the camera was aligned and is switched on."""
    return camera.find("transform") is not None and camera.get("enabled", "1").lower() not in ("0", "false")


def _camera(chunk: Element, camera: Element, path: Path) -> GivenCamera:
    label = camera.get("label", "")
    with told_with(f"camera {label[:200]!r}", path):
        if not label:
            raise InputError("has no label")
        rows = numbers(camera.findtext("transform"), 16, "its transform")
        world_from_cam = torch.tensor(rows, dtype=torch.float64).view(4, 4)
        check_rigid(world_from_cam, "its transform")
        pose = moved_pose(torch.linalg.inv(world_from_cam), _world_from_chunk(chunk, camera))
        return GivenCamera(name=label, lens=_lens(chunk, camera), cam_from_world=pose)


def _world_from_chunk(chunk: Element, camera: Element) -> Float[Tensor, "4 4"]:
    """The similarity of the camera's component, or of the chunk in files from before there were components."""
    component = _by_id(chunk, "./components/component", camera.get("component_id"))
    transform = (chunk if component is None else component).find("transform")
    if transform is None or not (transform.findtext("rotation") or transform.findtext("translation")):
        return torch.eye(4, dtype=torch.float64)
    rotation = numbers(transform.findtext("rotation", "1 0 0 0 1 0 0 0 1"), 9, "the component's rotation")
    translation = numbers(transform.findtext("translation", "0 0 0"), 3, "the component's translation")
    scale = number(transform.findtext("scale", "1"), "the component's scale")
    if not 1e-12 < scale < 1e12:
        raise InputError(f"the component's scale is {scale:g}")
    similarity = rigid(torch.tensor(rotation, dtype=torch.float64).view(3, 3), translation)
    check_rigid(similarity, "the component's transform")
    similarity[:3, :3] *= scale
    return similarity


def _lens(chunk: Element, camera: Element) -> Lens:
    sensor = _by_id(chunk, "./sensors/sensor", camera.get("sensor_id"))
    if sensor is None:
        raise InputError(f"its sensor {camera.get('sensor_id')!r} is not in the file")
    solved = sensor.findall("calibration")
    solved = [c for c in solved if c.get("class") == "adjusted"] or solved
    if not solved:
        raise InputError(f"its sensor {sensor.get('id')!r} has no calibration")
    calibration = solved[0]
    size = calibration.find("resolution")
    size = sensor.find("resolution") if size is None else size
    if size is None:
        raise InputError(f"its sensor {sensor.get('id')!r} has no resolution")
    width, height = (round(number(size.get(key), f"the sensor's {key}")) for key in ("width", "height"))
    return _lens_of(calibration, width, height)


def _lens_of(calibration: Element, width: int, height: int) -> Lens:
    if calibration.find("f") is None:
        raise InputError("its calibration has no focal length f")
    focal = number(calibration.findtext("f"), "f")
    v = {name: number(calibration.findtext(name, "0"), name) for name in _NUMBERS}
    kind = calibration.get("type", "frame")
    if kind == "fisheye":
        model, distortion = "THIN_PRISM_FISHEYE", (v["k1"], v["k2"], v["p2"], v["p1"], v["k3"], v["k4"], 0.0, 0.0)
    elif kind == "frame":
        if v["k4"]:
            raise InputError(
                f"k4 = {v['k4']:g} cannot be undistorted",
                remedy="optimise the cameras in Metashape without k4, and export them again",
            )
        model, distortion = "FULL_OPENCV", (v["k1"], v["k2"], v["p2"], v["p1"], v["k3"], 0.0, 0.0, 0.0)
    else:
        raise InputError(f"its sensor is of the type {kind[:40]!r}; frame and fisheye are read")
    return Lens(
        model=model,
        fx=focal + v["b1"],
        fy=focal,
        cx=width / 2 + v["cx"],
        cy=height / 2 + v["cy"],
        distortion=distortion,
        width=width,
        height=height,
        skew=v["b2"],
    )


def _by_id(chunk: Element, where: str, number_: str | None) -> Element | None:
    return next((element for element in chunk.iterfind(where) if element.get("id") == number_), None)
