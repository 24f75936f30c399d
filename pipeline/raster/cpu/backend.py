"""The embedded rasteriser: nvdiffrast's semantics on the CPU, deterministic for any thread count."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.raster.cpu.adjacency import neighbours_of
from pipeline.raster.cpu.antialiasing import Blend, find_silhouettes
from pipeline.raster.cpu.checks import as_array, check_size, checked_faces
from pipeline.raster.cpu.functions import Interpolate, Resolve
from pipeline.raster.cpu.jit import use_torch_threads
from pipeline.raster.cpu.visibility import find_layer, project_points
from pipeline.raster.rasterizer import Raster, Topology


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

    def topology(self, faces: Int[Tensor, "faces 3"]) -> Topology:
        """Which face lies across each edge; `antialias` needs it, and a mesh whose faces stay may keep it."""
        indices = checked_faces(faces, int(faces.max()) + 1 if len(faces) else 0)
        return Topology(neighbours=torch.from_numpy(neighbours_of(indices)))

    def antialias(
        self,
        color: Float[Tensor, "views height width channels"],
        raster: Raster,
        clip: Float[Tensor, "views vertices 4"],
        faces: Int[Tensor, "faces 3"],
        *,
        topology: Topology | None = None,
        search: int = 32,
    ) -> Float[Tensor, "views height width channels"]:
        """Blend colours across silhouettes by the area that the nearer surface covers.

        This is what makes coverage differentiable: gradients go to the colours and to x, y, w of the
        silhouettes' vertices. Surfaces must share vertices by index. A pixel next to several edges sums
        their shares, so values may overshoot the range of the colours slightly.

        Args:
            color: Values per pixel.
            raster: What `rasterize` made of the same `clip` and `faces`.
            clip: Clip positions.
            faces: Vertex indices.
            topology: Of `faces`; made here when not given.
            search: How many faces beyond the visible one to search for the silhouette between two pixels;
                0 looks at the visible triangle's own edges only (nvdiffrast's rule), which misses most
                silhouettes of dense meshes.
        """
        indices = checked_faces(faces, clip.shape[1])
        mesh = indices, (topology or self.topology(faces)).neighbours.numpy()
        rast = as_array(raster.rast)
        use_torch_threads()
        points = project_points(as_array(clip), (rast.shape[2], rast.shape[1]))
        return Blend.apply(color, clip.to(color.dtype), find_silhouettes(points, mesh, rast, search))
