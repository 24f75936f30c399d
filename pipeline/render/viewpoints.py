"""Where an asset is seen from: cameras of a file, or a turntable."""

import difflib
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.errors import UsageError
from pipeline.formats.transforms_json import PosedFrame, read_transforms_by_name
from pipeline.render.limits import check_range
from pipeline.scene import Camera

MAX_FRAMES = 3600
MAX_SIDE_PX = 8192
_MARGIN = 1.05  # room around the asset


@dataclass(frozen=True, kw_only=True)
class CameraFile:
    """Cameras of a `cameras.json` or another `transforms.json`, in the asset's frame.

    Attributes:
        path: The file.
        names: Which of its cameras, with or without the photo's suffix; all when empty.
    """

    path: Path
    names: tuple[str, ...] = ()

    @staticmethod
    def parse(text: str) -> "CameraFile":
        """Read `FILE` or `FILE:NAME,NAME`; a file whose own name holds a colon is taken as it is."""
        path, colon, names = text.rpartition(":")
        if not colon or Path(text).is_file():
            return CameraFile(path=Path(text))
        return CameraFile(path=Path(path), names=tuple(name for name in names.split(",") if name))

    def cameras(self) -> dict[str, Camera]:
        """The cameras by name, in the order asked for.

        Raises:
            UsageError: When the file does not exist or has no camera of a name.
            InputError: When the file cannot be used.
        """
        if not self.path.exists():
            raise UsageError("does not exist", path=self.path, remedy="name a cameras.json with --camera")
        frames = read_transforms_by_name(self.path)
        chosen = [self._find(name, frames) for name in self.names] or list(frames.values())
        return {frame.name: frame.camera for frame in chosen}

    def _find(self, name: str, frames: dict[str, PosedFrame]) -> PosedFrame:
        by_path = {frame.file_path: frame for frame in frames.values()}
        frame = frames.get(name) or by_path.get(name)
        if frame is None:
            near = difflib.get_close_matches(name, frames, n=1, cutoff=0.0)
            raise UsageError(f"no camera is named {name!r}", path=self.path, remedy=f"did you mean {near[0]}?")
        return frame


@dataclass(frozen=True, kw_only=True)
class Turntable:
    """Cameras on a circle around the asset, all looking at its middle; the light stays with the asset.

    Attributes:
        count: Number of cameras; the first stands in front (+Z), the next ones counter-clockwise from above.
        size_px: Width and height of the pictures.
        elevation_deg: Height of the circle as seen from the asset's middle.
        fov_deg: Field of view of the shorter side.

    Raises:
        UsageError: When a value is outside its range.
    """

    count: int
    size_px: tuple[int, int] = (512, 512)
    elevation_deg: float = 15.0
    fov_deg: float = 35.0

    def __post_init__(self) -> None:
        """Refuse impossible numbers."""
        check_range("--turntable", self.count, 1, MAX_FRAMES)
        check_range("--size", min(self.size_px), 1, MAX_SIDE_PX)
        check_range("--size", max(self.size_px), 1, MAX_SIDE_PX)
        check_range("--elevation", self.elevation_deg, -89, 89)
        check_range("--fov", self.fov_deg, 1, 120)

    def cameras(self, vertices: Float[Tensor, "vertices 3"]) -> dict[str, Camera]:
        """The cameras by name, all at the smallest distance from which the asset fits into every picture."""
        points = vertices.double()
        middle = (points.amin(0) + points.amax(0)) / 2
        width, height = self.size_px
        focal = min(width, height) / 2 / math.tan(math.radians(self.fov_deg) / 2)
        K = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], dtype=torch.float64)
        slope = torch.tensor([width / 2, height / 2], dtype=torch.float64) / focal / _MARGIN
        rotations = [self._rotation(2 * math.pi * index / self.count) for index in range(self.count)]
        distance = 0.0
        for rotation in rotations:
            seen = (points - middle) @ rotation.mT
            distance = max(distance, float((seen[:, :2].abs() / slope - seen[:, 2:]).max()))
        named = {}
        for index, rotation in enumerate(rotations):
            pose = torch.eye(4, dtype=torch.float64)
            pose[:3, :3] = rotation
            pose[:3, 3] = -rotation @ middle
            pose[2, 3] += distance
            named[f"turntable_{index:03d}"] = Camera(K=K, cam_from_world=pose, width=width, height=height)
        return named

    def _rotation(self, turn: float) -> Float[Tensor, "3 3"]:
        """`cam_from_world` of a camera that looks at the middle, with +Y up in the picture."""
        elevation = math.radians(self.elevation_deg)
        back = [math.cos(elevation) * math.sin(turn), math.sin(elevation), math.cos(elevation) * math.cos(turn)]
        right = [math.cos(turn), 0.0, -math.sin(turn)]
        forward = -torch.tensor(back, dtype=torch.float64)
        across = torch.tensor(right, dtype=torch.float64)
        return torch.stack([across, torch.linalg.cross(forward, across), forward])
