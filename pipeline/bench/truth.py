"""Captures with truth: test views, maps, relit views, light maps and mesh of a known object.

The world of such a capture has +Z up. Everything read here is turned to +Y up, as glTF has it; its light maps then
are ours (`frames.equirect_uv_from_direction`).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pipeline.color import linear_from_srgb
from pipeline.errors import InputError
from pipeline.formats.exr import read_exr_channels
from pipeline.formats.files import read_regular
from pipeline.formats.images import decode_photo
from pipeline.formats.transforms_json import PosedFrame, read_transforms
from pipeline.frames import rotation_to_y_up
from pipeline.scene import Camera

_REMEDY = "docs/bench.md says what a capture with truth holds"
_MAP_CHANNELS = (
    *("A", "albedo.R", "albedo.G", "albedo.B", "roughness.V", "metallic.V"),
    *("normal.X", "normal.Y", "normal.Z", "depth.V"),
)


@dataclass(frozen=True, kw_only=True)
class TrueLight:
    """A light map and the factor on it."""

    path: Path
    strength: float


@dataclass(frozen=True, eq=False, kw_only=True)
class TrueView:
    """A picture of the object, with the light it was taken under and, of test views, its maps.

    Attributes:
        name: For reports: the photo's name, after that of the light where it was relit.
        camera: In the turned world.
        picture: An RGBA file, sRGB with straight alpha.
        maps: The EXR of its true maps, or none.
        light: The light, or none when the capture does not hold its map.
        environment: The light's name.
    """

    name: str
    camera: Camera
    picture: Path
    maps: Path | None
    light: TrueLight | None
    environment: str

    def pixels(self) -> Float[Tensor, "height width 4"]:
        """The picture, sRGB and straight alpha in [0, 1].

        Raises:
            InputError: When the picture cannot be read or has another size than its camera.
        """
        photo = decode_photo(self.picture)
        rgb = torch.tensor(photo.rgb)
        alpha = torch.full(rgb.shape[:2], 255) if photo.alpha is None else torch.tensor(photo.alpha)
        if rgb.shape[:2] != (self.camera.height, self.camera.width):
            raise InputError(
                f"{rgb.shape[1]} x {rgb.shape[0]} pixels, its camera says {self.camera.width} x {self.camera.height}",
                path=self.picture,
            )
        return torch.cat([rgb, alpha[..., None]], -1).float() / 255


@dataclass(frozen=True, eq=False, kw_only=True)
class TrueMaps:
    """What the object is in each pixel of a test view; to be compared where `mask` says that it fills most of it.

    Attributes:
        mask: Where the object covers more than half of a pixel.
        base_color: Linear RGB.
        roughness: Perceptual roughness.
        metallic: 0 dielectric .. 1 metal.
        normal: Unit normals in the turned world, with the normal map.
        points: Surface points of the pixels that it covers whole, in the turned world.
    """

    mask: Bool[Tensor, "height width"]
    base_color: Float[Tensor, "height width 3"]
    roughness: Float[Tensor, "height width"]
    metallic: Float[Tensor, "height width"]
    normal: Float[Tensor, "height width 3"]
    points: Float[Tensor, "points 3"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Truth:
    """A capture with truth.

    Attributes:
        folder: The capture.
        train: The cameras of its photos by name, in the turned world.
        tests: Views that no photo shows.
        relit: Views under lights that no photo shows; may be none.
        mesh: The true mesh as PLY in the capture's world, or none.
        world_from_capture: Turns +Z up to +Y up.
    """

    folder: Path
    train: dict[str, Camera]
    tests: tuple[TrueView, ...]
    relit: tuple[TrueView, ...]
    mesh: Path | None
    world_from_capture: Float[Tensor, "4 4"]

    def maps(self, view: TrueView) -> TrueMaps:
        """The true maps of a test view.

        Raises:
            InputError: When they cannot be read or have another size than the camera.
        """
        if view.maps is None:
            raise InputError("has no true maps", path=view.picture, remedy=_REMEDY)
        read = read_exr_channels(view.maps, _MAP_CHANNELS)
        if read["A"].shape != (view.camera.height, view.camera.width):
            raise InputError(f"has another size than {view.picture.name}", path=view.maps)
        normal = torch.stack([read[f"normal.{c}"] for c in "XYZ"], -1)
        turn = self.world_from_capture[:3, :3].float()
        return TrueMaps(
            mask=read["A"] > 0.5,
            base_color=torch.stack([read[f"albedo.{c}"] for c in "RGB"], -1),
            roughness=read["roughness.V"],
            metallic=read["metallic.V"],
            normal=torch.nn.functional.normalize(normal @ turn.mT, dim=-1),
            points=_points(read["depth.V"], (read["A"] > 0.99) & (read["depth.V"] > 0), view.camera),
        )


def _points(
    depth: Float[Tensor, "height width"], where: Bool[Tensor, "height width"], camera: Camera
) -> Float[Tensor, "points 3"]:
    """World points of pixels by their depth along the camera's axis."""
    row, column = where.nonzero().double().unbind(1)
    pixel = torch.stack([column + 0.5, row + 0.5, torch.ones_like(row)], -1)
    seen = depth[where].double()[:, None] * (pixel @ torch.linalg.inv(camera.K.double()).mT)
    rotation = camera.cam_from_world[:3, :3].double()
    return ((seen - camera.cam_from_world[:3, 3].double()) @ rotation).float()


def read_truth(folder: Path) -> Truth:
    """Read what a capture with truth holds; pictures and maps are opened when they are needed.

    Raises:
        InputError: When the folder is none, or holds no truth.
    """
    if not folder.is_dir():
        raise InputError("is a file" if folder.exists() else "does not exist", path=folder, remedy=_REMEDY)
    turn = torch.eye(4, dtype=torch.float64)
    turn[:3, :3] = rotation_to_y_up(torch.tensor([0.0, 0.0, 1.0]))
    for name in ("transforms_train.json", "transforms_test.json"):
        if not (folder / name).is_file():
            raise InputError(f"is no capture with truth: it holds no {name}", path=folder, remedy=_REMEDY)
    tests = _views(folder, "transforms_test.json", turn)
    for view in tests:
        if view.maps is None:
            missing = f"test_gt/{view.picture.stem}_gt.exr"
            raise InputError(f"has no true maps of {view.name}: {missing} is missing", path=folder, remedy=_REMEDY)
    has_relit = (folder / "transforms_relit.json").is_file()
    mesh = folder / "mesh_world.ply"
    train = read_transforms(folder / "transforms_train.json")
    return Truth(
        folder=folder,
        train={frame.name: frame.camera.moved(turn) for frame in train},
        tests=tests,
        relit=_views(folder, "transforms_relit.json", turn) if has_relit else (),
        mesh=mesh if mesh.is_file() else None,
        world_from_capture=turn,
    )


def _views(folder: Path, name: str, turn: Float[Tensor, "4 4"]) -> tuple[TrueView, ...]:
    path = folder / name
    frames = read_transforms(path)
    document = json.loads(read_regular(path, max_bytes=2**26))
    return tuple(
        _view(frame, {**document, **told}, folder, turn) for frame, told in zip(frames, document["frames"], strict=True)
    )


def _view(frame: PosedFrame, told: dict[str, Any], folder: Path, turn: Float[Tensor, "4 4"]) -> TrueView:
    if frame.image_path is None:
        raise InputError(f"the picture {frame.file_path} is missing", path=folder, remedy=_REMEDY)
    environment, strength = told.get("env", ""), told.get("env_strength", 1.0)
    if not isinstance(environment, str) or not isinstance(strength, int | float) or not 0 < strength < 1e6:
        raise InputError(f"{frame.file_path}: env and env_strength are no name and factor", path=folder)
    light = folder / "hdri" / f"{environment}.hdr"
    maps = folder / "test_gt" / f"{frame.name}_gt.exr"
    return TrueView(
        name=f"{environment}_{frame.name}" if "test_view" in told else frame.name,
        camera=frame.camera.moved(turn),
        picture=frame.image_path,
        maps=maps if maps.is_file() else None,
        light=TrueLight(path=light, strength=float(strength)) if environment and light.is_file() else None,
        environment=environment,
    )


def linear_straight(pixels: Float[Tensor, "height width 4"]) -> Float[Tensor, "height width 3"]:
    """Linear colour of a true picture's covered part."""
    return linear_from_srgb(pixels[..., :3])
