"""The embedded rasteriser: nvdiffrast's semantics on the CPU, deterministic for any thread count."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.raster.cpu.checks import as_array, check_size, checked_faces
from pipeline.raster.cpu.interpolation import interpolate_rows
from pipeline.raster.cpu.jit import use_torch_threads
from pipeline.raster.cpu.visibility import find_layer, resolve_layer
from pipeline.raster.rasterizer import Raster


class CpuRasterizer:
    """`Rasterizer` in numba kernels; float32, or float64 to check derivatives."""

    name = "cpu"
    deterministic = True

    def rasterize(
        self, clip: Float[Tensor, "views vertices 4"], faces: Int[Tensor, "faces 3"], *, size_px: tuple[int, int]
    ) -> Raster:
        """Find the nearest triangle at each pixel centre; `size_px` is (width, height). No face is culled.

        Left edges are inclusive, right edges exclusive, a horizontal edge belongs to the triangle below;
        equal depths go to the lowest index. Degenerate and non-finite triangles cover nothing.

        Raises:
            InputError: An index out of range, an impossible image size, a tensor of another type or device.
            ResourceError: More than 2^24 triangles.
        """
        check_size(size_px)
        indices = checked_faces(faces, clip.shape[1])
        positions = as_array(clip)
        use_torch_threads()
        layer = find_layer(positions, indices, size_px)
        return Raster(rast=torch.from_numpy(resolve_layer(layer, indices, positions.dtype)))

    def interpolate(
        self, attributes: Float[Tensor, "vertices channels"], raster: Raster, faces: Int[Tensor, "faces 3"]
    ) -> Float[Tensor, "views height width channels"]:
        """Perspective-correct attributes per pixel, zero where empty. `faces` may index other arrays (uvs)."""
        rast = as_array(raster.rast.flatten(0, 1))
        indices = checked_faces(faces, len(attributes))
        values = as_array(attributes.to(raster.rast.dtype))
        use_torch_threads()
        out = np.empty((*rast.shape[:2], values.shape[1]), rast.dtype)
        interpolate_rows(values, indices, rast, out)
        return torch.from_numpy(out).unflatten(0, raster.rast.shape[:2])
