"""The unwrapping libraries; runs in a child process, as xatlas can take very long and cannot be stopped."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from pipeline.errors import NativeCrashError
from pipeline.formats.tensors import load_asset, save_asset
from pipeline.scene import Asset

Progress = Callable[[float, str], None]


def unwrap(arguments: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Unwrap `arguments["mesh"]` into `arguments["result"]`: uvs (top left origin) and uv_faces.

    Raises:
        NativeCrashError: When the library returns a result that does not fit the mesh.
    """
    mesh = load_asset(Path(arguments["mesh"])).mesh
    progress(0.0, arguments["method"])
    run = {"xatlas": _xatlas, "uvunwrap": _uvunwrap}[arguments["method"]]
    uvs, uv_faces = run(mesh.vertices.numpy(), mesh.faces.numpy(), arguments)
    if uv_faces.shape != mesh.faces.shape or not np.isfinite(uvs).all():
        raise NativeCrashError(f"{arguments['method']} returned {len(uv_faces)} faces for {len(mesh.faces)}")
    uv_faces = uv_faces.astype(np.int64)
    unwrapped = dataclasses.replace(mesh, uvs=torch.from_numpy(uvs), uv_faces=torch.from_numpy(uv_faces))
    save_asset(Asset(mesh=unwrapped), Path(arguments["result"]))
    a, b, c = (uvs[uv_faces[:, k]] for k in range(3))
    cross = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    return {"uvs": len(uvs), "area_used": float(np.abs(cross).sum() / 2), "mirrored_faces": int((cross < 0).sum())}


def _xatlas(
    vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"], arguments: dict[str, Any]
) -> tuple[Float[np.ndarray, "uvs 2"], Int[np.ndarray, "faces 3"]]:
    import xatlas

    atlas = xatlas.Atlas()
    atlas.add_mesh(vertices.astype(np.float32), faces.astype(np.uint32))
    pack = xatlas.PackOptions()
    pack.padding = arguments["padding_px"]
    pack.resolution = arguments["pack_px"]
    pack.create_image = False
    atlas.generate(pack_options=pack)
    _, uv_faces, uvs = atlas[0]
    return uvs.astype(np.float32), uv_faces.astype(np.int64)


def _uvunwrap(
    vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"], arguments: dict[str, Any]
) -> tuple[Float[np.ndarray, "uvs 2"], Int[np.ndarray, "faces 3"]]:
    import uvunwrap

    mesh = uvunwrap.Mesh(vertices.astype(np.float32).ravel(), faces.astype(np.uint32).ravel())
    atlas = uvunwrap.generate([mesh], page_size=arguments["pack_px"], padding=arguments["padding_px"])
    if atlas.page_count != 1:
        raise NativeCrashError(f"uvunwrap packed {atlas.page_count} pages instead of one")
    made = atlas.meshes[0]
    uvs = np.asarray(made.uv, np.float32).reshape(-1, 2)
    return uvs, np.asarray(made.indices, np.int64).reshape(-1, 3)
