"""Meshes, assets and checkpoints as safetensors files: exact, and safe to open."""

from pathlib import Path
from typing import Any, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from pipeline.scene import Asset, Environment, Material, Mesh

_BASES = get_args(Environment.__dataclass_fields__["basis"].type)


def save_asset(asset: Asset, path: Path) -> None:
    """Write a mesh with whatever of UVs, material, light and refined poses it has."""
    parts: dict[str, torch.Tensor | bool | None] = {f"mesh.{k}": v for k, v in vars(asset.mesh).items()}
    if asset.material is not None:
        parts |= {f"material.{k}": v for k, v in vars(asset.material).items()}
    if asset.environment is not None:
        parts[f"environment.{asset.environment.basis}"] = asset.environment.coefficients
    parts |= {"cameras.cam_from_world": asset.cam_from_world, "cameras.exposure": asset.exposure}
    parts |= {f"provenance.{k}": torch.tensor(float(v), dtype=torch.float64) for k, v in asset.provenance.items()}
    tensors = {k: torch.as_tensor(v) for k, v in parts.items() if v is not None}
    save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, path)


def load_asset(path: Path) -> Asset:
    """Read what `save_asset` wrote."""
    groups: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in load_file(path).items():
        group, name = key.split(".", 1)
        groups.setdefault(group, {})[name] = value
    light = groups.get("environment", {})
    material: dict[str, Any] = {k: v if v.ndim else bool(v) for k, v in groups.get("material", {}).items()}
    environment = next((Environment(coefficients=light[b], basis=b) for b in _BASES if b in light), None)
    return Asset(
        mesh=Mesh(**groups["mesh"]),
        material=Material(**material) if material else None,
        environment=environment,
        cam_from_world=groups.get("cameras", {}).get("cam_from_world"),
        exposure=groups.get("cameras", {}).get("exposure"),
        provenance={k: float(v) for k, v in groups.get("provenance", {}).items()},
    )


def save_checkpoint(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Write tensors so that the file is always whole: the old one or the new one."""
    temporary = path.with_suffix(".tmp")
    save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, temporary)
    temporary.replace(path)


def load_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    """What `save_checkpoint` wrote; empty when there is none, or it cannot be read, which is as good as none."""
    if not path.is_file():
        return {}
    try:
        return load_file(path)
    except (SafetensorError, OSError):
        return {}
