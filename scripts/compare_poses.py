#!/usr/bin/env python
"""Compare two sets of camera poses of the same photos, after the similarity that fits their centres best.

    python scripts/compare_poses.py FOUND REFERENCE

Each is a file or folder that `recon run --poses` reads (transforms.json, a COLMAP model, ...), or a stage's
`capture.json`. Photos are matched by the stem of their names. The table shows, over all photos that both know,

    rotation   angle between the two orientations, in degrees
    pair       angle between the two rotations from one photo to another, over all pairs: needs no alignment
    centre     distance of the two camera centres, in % of the cameras' median distance from the point they look at
    focal      |found / reference - 1|, in %
"""

import argparse
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from pipeline.formats import capture_json
from pipeline.formats.given_cameras import GivenCamera
from pipeline.formats.pose_files import read_poses
from pipeline.scene import Camera
from pipeline.stages.world_frame import look_at_point


@dataclass(frozen=True, eq=False, kw_only=True)
class Differences:
    """One value for each photo that both sets know; for each pair of photos in `pair_deg`."""

    rotation_deg: Tensor
    pair_deg: Tensor
    center_percent: Tensor
    focal_percent: Tensor


def read_cameras(path: Path) -> dict[str, Camera]:
    """Pinhole cameras by the stem of the photo's name; distortion is left aside."""
    if path.name == "capture.json":
        return {_stem(v.name): v.camera for v in capture_json.load(path.parent).views}
    given = read_poses(path, size_of=lambda name: None, names=())
    return {_stem(c.name): _pinhole(c) for c in given.cameras}


def _stem(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).stem


def _pinhole(given: GivenCamera) -> Camera:
    lens = given.lens
    K = torch.tensor([[lens.fx, lens.skew, lens.cx], [0, lens.fy, lens.cy], [0, 0, 1]], dtype=torch.float64)
    return Camera(K=K, cam_from_world=given.cam_from_world.double(), width=lens.width, height=lens.height)


def compare(found: dict[str, Camera], reference: dict[str, Camera]) -> Differences:
    """Differences of the photos that both know, `found` aligned to `reference` by the centres (Umeyama, 1991)."""
    names = sorted(found.keys() & reference.keys())
    if len(names) < 3:
        raise SystemExit(f"{len(names)} photos in common, at least 3 needed")
    ours, theirs = ([cameras[n] for n in names] for cameras in (found, reference))
    a, b = (torch.stack([c.camera_center for c in cameras]).double() for cameras in (ours, theirs))
    turn, scale = _similarity(a, b)
    moved = scale * (a - a.mean(0)) @ turn.mT + b.mean(0)
    distance = (b - look_at_point(theirs)).norm(dim=1).median()
    rotations, targets = (torch.stack([c.cam_from_world[:3, :3] for c in cameras]) for cameras in (ours, theirs))
    first, second = torch.triu_indices(len(names), len(names), offset=1)
    focal = [float(f.K[0, 0] / f.width / (r.K[0, 0] / r.width)) for f, r in zip(ours, theirs, strict=True)]
    return Differences(
        rotation_deg=_angle_deg(rotations @ turn.mT, targets),
        pair_deg=_angle_deg(rotations[second] @ rotations[first].mT, targets[second] @ targets[first].mT),
        center_percent=100 * (moved - b).norm(dim=1) / distance,
        focal_percent=100 * (torch.tensor(focal) - 1).abs(),
    )


def _similarity(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Rotation and scale of the similarity that takes the points `a` nearest to `b`."""
    a, b = a - a.mean(0), b - b.mean(0)
    u, s, vt = torch.linalg.svd(b.mT @ a)
    proper = torch.tensor([1.0, 1.0, float(torch.sign(torch.linalg.det(u @ vt)))], dtype=a.dtype)
    return (u * proper) @ vt, (s * proper).sum() / (a**2).sum()


def _angle_deg(a: Tensor, b: Tensor) -> Tensor:
    """Angle of the rotation between two, exact for small ones: |R - 1| = 2 sqrt(2) sin(angle / 2)."""
    return torch.rad2deg(2 * torch.asin(((a - b).norm(dim=(-2, -1)) / 8**0.5).clamp(max=1)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("found", type=Path)
    parser.add_argument("reference", type=Path)
    parsed = parser.parse_args()
    found, reference = read_cameras(parsed.found), read_cameras(parsed.reference)
    differences = compare(found, reference)
    print(f"{len(differences.rotation_deg)} photos in common, {len(found)} found, {len(reference)} in the reference")
    print(f"{'':16}{'median':>10}{'90 %':>10}{'largest':>10}")
    for name, values in vars(differences).items():
        print(f"{name:16}{values.median():10.4f}{values.quantile(0.9):10.4f}{values.max():10.4f}")


if __name__ == "__main__":
    main()
