"""Unwrap: texture coordinates, kept where the mesh has some, else made in a child process by one of two libraries."""

import dataclasses
from pathlib import Path

from pipeline.child import run_child
from pipeline.config import UnwrapConfig
from pipeline.errors import NativeCrashError, ReconError, ResourceError
from pipeline.formats.tensors import load_asset, save_asset
from pipeline.scene import Asset, Mesh
from pipeline.stages.unwrap_given import why_unusable
from pipeline.workspace import Stage, StageContext


def unwrap(mesh: Mesh, config: UnwrapConfig, context: StageContext) -> Asset:
    """Cut the mesh into charts and pack them; when the chosen library fails or is too slow, the other one does it.

    A mesh that has usable texture coordinates keeps them.

    Raises:
        ReconError: When both libraries fail.
    """
    if mesh.uvs is not None:
        reason, measured = why_unusable(mesh, context.runtime.rasterizer)
        if not reason:
            context.metrics.update(measured)
            return Asset(mesh=dataclasses.replace(mesh, uvs=mesh.uvs.clamp(0, 1)))
        context.warn(f"the texture coordinates of the mesh are not kept: {reason}")
        mesh = dataclasses.replace(mesh, uvs=None, uv_faces=None)
    other = {"xatlas": "uvunwrap", "uvunwrap": "xatlas"}[config.method]
    failure: ReconError | None = None
    for method in (config.method, other):
        try:
            unwrapped, figures = _unwrap_with(method, mesh, config, context)
        except (NativeCrashError, ResourceError) as error:
            context.warn(f"{method} failed: {error}; trying the other unwrapper")
            failure = error
            continue
        context.metrics.update(figures)
        return Asset(mesh=unwrapped)
    raise failure or NativeCrashError("no unwrapper ran")


def _unwrap_with(
    method: str, mesh: Mesh, config: UnwrapConfig, context: StageContext
) -> tuple[Mesh, dict[str, int | float]]:
    source, target = context.folder / "mesh.safetensors", context.folder / f"{method}.safetensors"
    save_asset(Asset(mesh=mesh), source)
    arguments = {
        "method": method,
        "mesh": str(source),
        "result": str(target),
        "pack_px": config.pack_px,
        "padding_px": config.padding_px,
    }
    figures = run_child(
        "pipeline.stages.unwrap_child:unwrap",
        arguments,
        timeout_s=config.timeout_s,
        log=context.folder / "unwrap.log",
        progress=context.progress,
    )
    unwrapped = load_asset(target).mesh
    source.unlink()
    target.unlink()
    return unwrapped, figures


def _save(asset: Asset, folder: Path) -> None:
    save_asset(asset, folder / "asset.safetensors")


def _load(folder: Path) -> Asset:
    return load_asset(folder / "asset.safetensors")


def _summary(asset: Asset) -> str:
    uvs = asset.mesh.uvs
    return f"{0 if uvs is None else len(uvs)} texture coordinates"


STAGE = Stage(name="unwrap", version=2, compute=unwrap, save=_save, load=_load, summary=_summary)
