"""The embedded rasteriser: nvdiffrast's semantics on the CPU, deterministic for any thread count."""

from jaxtyping import Float, Int
from torch import Tensor

from pipeline.raster.cpu.checks import as_array, check_size, checked_faces
from pipeline.raster.cpu.functions import Interpolate, Resolve
from pipeline.raster.cpu.jit import use_torch_threads
from pipeline.raster.cpu.visibility import find_layer
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
        equal depths go to the lowest index. Degenerate and non-finite triangles cover nothing. u and v are
        differentiable in `clip`, z/w is not.

        Raises:
            InputError: An index out of range, an impossible image size, a tensor of another type or device.
            ResourceError: More than 2^24 triangles.
        """
        check_size(size_px)
        indices = checked_faces(faces, clip.shape[1])
        positions = as_array(clip)
        use_torch_threads()
        layer = find_layer(positions, indices, size_px)
        return Raster(rast=Resolve.apply(clip, layer, indices))

    def interpolate(
        self, attributes: Float[Tensor, "vertices channels"], raster: Raster, faces: Int[Tensor, "faces 3"]
    ) -> Float[Tensor, "views height width channels"]:
        """Perspective-correct attributes per pixel, zero where empty. `faces` may index other arrays (uvs)."""
        indices = checked_faces(faces, len(attributes))
        return Interpolate.apply(attributes.to(raster.rast.dtype), raster.rast, indices)
