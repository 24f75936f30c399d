"""Mitsuba 3 (`llvm_ad_rgb`): ray casting at pixel samples, no gradient of visibility with `direct`."""

import ctypes.util
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from raster_peers.scene import Scene

_LIBRARIES = [
    f"/usr/lib/{machine}-linux-gnu/libLLVM.so.{v}.1" for v in (21, 20, 19) for machine in ("x86_64", "aarch64")
]


def find_llvm() -> bool:
    """Point Dr.Jit to an LLVM of version 19 or later, installing Debian's where that is possible."""
    if "DRJIT_LIBLLVM_PATH" in os.environ:
        return True
    found = next((p for p in _LIBRARIES if Path(p).exists()), None)
    if found is None and os.geteuid() == 0:
        subprocess.run(["apt-get", "update", "-qq"], check=False)
        subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "libllvm19"], check=False)
        found = next((p for p in _LIBRARIES if Path(p).exists()), ctypes.util.find_library("LLVM-19"))
    if found:
        os.environ["DRJIT_LIBLLVM_PATH"] = found
    return found is not None


def mitsuba_step(scene: Scene, *, threads: int) -> Callable[[], Tensor]:
    """`direct` with one sample a pixel, diffuse vertex colours under constant light, back to the vertices."""
    import drjit as dr
    import mitsuba as mi

    mi.set_variant("llvm_ad_rgb")
    dr.set_thread_count(threads)
    shape = mi.Mesh("mesh", len(scene.vertices), len(scene.faces), has_vertex_normals=False)
    shape.add_attribute("vertex_color", 3, scene.colors.numpy().ravel())
    values = mi.traverse(shape)
    values["vertex_positions"] = scene.vertices.numpy().ravel()
    values["faces"] = scene.faces.numpy().astype(np.uint32).ravel()
    values.update()
    shape.write_ply(str(scene_file := Path(os.environ.get("TMPDIR", "/tmp")) / f"bench_{os.getpid()}.ply"))  # noqa: S108
    world = mi.load_dict(
        {
            "type": "scene",
            "light": {"type": "constant"},
            "mesh": {
                "type": "ply",
                "filename": str(scene_file),
                "bsdf": {
                    "type": "twosided",
                    "bsdf": {"type": "diffuse", "reflectance": {"type": "mesh_attribute", "name": "vertex_color"}},
                },
            },
            "sensor": {
                "type": "perspective",
                "fov": float(np.degrees(2 * np.arctan(scene.size_px / 2 / scene.focal_px))),
                "to_world": mi.ScalarTransform4f().look_at([0, 0, 0], [0, 0, 1], [0, -1, 0]),
                "film": {
                    "type": "hdrfilm",
                    "width": scene.size_px,
                    "height": scene.size_px,
                    "rfilter": {"type": "box"},
                },
            },
            "integrator": {"type": "direct", "hide_emitters": True},
        }
    )
    scene_file.unlink()
    parameters = mi.traverse(world)
    key = "mesh.vertex_positions"
    target = mi.TensorXf(scene.target.numpy())
    start = mi.Float(parameters[key])

    def step() -> Tensor:
        positions = mi.Float(start)
        dr.enable_grad(positions)
        parameters[key] = positions
        parameters.update()
        image = mi.render(world, parameters, spp=1, seed=0)
        dr.backward(dr.mean(dr.square(image - target), axis=None))
        return torch.from_numpy(np.array(dr.grad(positions)).reshape(-1, 3))

    return step
