"""The files of a finished run, put where the truth is."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.bench.tracer import Placed
from pipeline.bench.truth import Truth
from pipeline.errors import InputError
from pipeline.formats.gltf import read_gltf
from pipeline.formats.light_maps import read_light
from pipeline.formats.transforms_json import read_transforms_by_name
from pipeline.scene import Camera

LEAST_CAMERAS = 3


@dataclass(frozen=True, eq=False, kw_only=True)
class Alignment:
    """The similarity from the asset's frame to the truth's, by the centres of the cameras that both know.

    Attributes:
        world_from_asset: 4 x 4, with scale.
        cameras: How many cameras it was found from.
        center_error_pct: Median distance of centres, in % of their mean distance from their middle.
        angle_error_deg: Median angle between orientations.
    """

    world_from_asset: Float[Tensor, "4 4"]
    cameras: int
    center_error_pct: float
    angle_error_deg: float


@dataclass(frozen=True, eq=False, kw_only=True)
class FinishedRun:
    """What a run made, in the truth's world.

    Attributes:
        placed: The asset.
        light: Its fitted light in its own frame, or none.
        alignment: How it was put there; none for a bare GLB, which is taken to be there already.
        size_mib: Of the GLB.
    """

    placed: Placed
    light: Float[Tensor, "rows columns 3"] | None
    alignment: Alignment | None
    size_mib: float

    @property
    def world_from_light(self) -> Float[Tensor, "3 3"]:
        """The rotation of its light."""
        if self.alignment is None:
            return torch.eye(3, dtype=torch.float64)
        scaled = self.alignment.world_from_asset[:3, :3]
        return scaled / torch.linalg.det(scaled) ** (1 / 3)


def read_run(path: Path, truth: Truth) -> FinishedRun:
    """Read a run's folder with `asset.glb`, `cameras.json` and `light.hdr`, or a GLB that is in the truth's world.

    Raises:
        InputError: When a file is missing or cannot be used.
    """
    glb = path / "asset.glb" if path.is_dir() else path
    if not glb.is_file():
        raise InputError("does not exist", path=glb, remedy="name the folder of a finished run, or a .glb file")
    model = read_gltf(glb)
    if model.asset.material is None:
        raise InputError("has no material", path=glb)
    placed = Placed(
        mesh=model.asset.mesh, normals=model.normals, tangents=model.tangents, material=model.asset.material
    )
    size_mib = glb.stat().st_size / 2**20
    if not path.is_dir():
        return FinishedRun(placed=placed, light=None, alignment=None, size_mib=size_mib)
    cameras = {name: frame.camera for name, frame in read_transforms_by_name(path / "cameras.json").items()}
    alignment = align(cameras, truth.train, path / "cameras.json")
    light = path / "light.hdr"
    return FinishedRun(
        placed=_moved(placed, alignment.world_from_asset),
        light=read_light(light) if light.is_file() else None,
        alignment=alignment,
        size_mib=size_mib,
    )


def align(cameras: dict[str, Camera], truth: dict[str, Camera], path: Path) -> Alignment:
    """Find the similarity that takes the centres of `cameras` to those of `truth` (Umeyama 1991).

    Raises:
        InputError: When fewer than three names match.
    """
    names = sorted(cameras.keys() & truth.keys())
    if len(names) < LEAST_CAMERAS:
        raise InputError(
            f"only {len(names)} of its cameras are named like photos of the capture, {LEAST_CAMERAS} are needed",
            path=path,
            remedy="judge a run of this capture's own photos",
        )
    ours, theirs = (torch.stack([c[n].camera_center.double() for n in names]) for c in (cameras, truth))
    matrix = similarity(ours, theirs)
    off = (ours @ matrix[:3, :3].mT + matrix[:3, 3] - theirs).norm(dim=1)
    spread = (theirs - theirs.mean(0)).norm(dim=1).mean()
    angles = []
    for name in names:
        turned = cameras[name].moved(matrix).cam_from_world[:3, :3] @ truth[name].cam_from_world[:3, :3].mT
        angles.append(math.degrees(math.acos(max(-1.0, min(1.0, (float(turned.trace()) - 1) / 2)))))
    return Alignment(
        world_from_asset=matrix,
        cameras=len(names),
        center_error_pct=100 * float(off.median() / spread),
        angle_error_deg=float(torch.tensor(angles).median()),
    )


def similarity(points: Float[Tensor, "points 3"], targets: Float[Tensor, "points 3"]) -> Float[Tensor, "4 4"]:
    """The similarity that takes points to targets with least squares, never a mirror image (Umeyama 1991)."""
    a, b = points - points.mean(0), targets - targets.mean(0)
    u, s, vh = torch.linalg.svd(b.mT @ a)
    signs = torch.ones(3, dtype=points.dtype)
    signs[2] = torch.linalg.det(u @ vh).sign()
    rotation = u * signs @ vh
    scale = (s * signs).sum() / a.square().sum()
    matrix = torch.eye(4, dtype=points.dtype)
    matrix[:3, :3] = scale * rotation
    matrix[:3, 3] = targets.mean(0) - scale * rotation @ points.mean(0)
    return matrix


def _moved(placed: Placed, matrix: Float[Tensor, "4 4"]) -> Placed:
    """The asset under a similarity."""
    scaled = matrix[:3, :3]
    rotation = (scaled / torch.linalg.det(scaled) ** (1 / 3)).float()
    vertices = (placed.mesh.vertices.double() @ scaled.mT + matrix[:3, 3]).float()
    tangents = placed.tangents
    if tangents is not None:
        tangents = torch.cat([tangents[..., :3] @ rotation.mT, tangents[..., 3:]], -1)
    return replace(
        placed,
        mesh=replace(placed.mesh, vertices=vertices),
        normals=placed.normals @ rotation.mT,
        tangents=tangents,
    )
