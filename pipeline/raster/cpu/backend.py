"""The embedded rasteriser: nvdiffrast's semantics on the CPU, deterministic for any thread count."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pipeline.errors import InputError
from pipeline.raster.cpu.adjacency import neighbours_of
from pipeline.raster.cpu.antialiasing import Blend, find_silhouettes
from pipeline.raster.cpu.checks import as_array, check_ids, check_shape, check_size, checked_faces
from pipeline.raster.cpu.functions import Barycentrics, Interpolate, InterpolateDrawn, Soften
from pipeline.raster.cpu.jit import use_torch_threads
from pipeline.raster.cpu.texturing import cube_coordinates, sample_maps
from pipeline.raster.cpu.visibility import find_layer, screen_derivatives
from pipeline.raster.rasterizer import LINEAR, Raster, Sampling, Topology
from pipeline.raster.soft import Softness


class CpuRasterizer:
    """`Rasterizer` in numba kernels; float32, or float64 to check derivatives."""

    name = "cpu"
    deterministic = True

    def rasterize(
        self,
        clip: Float[Tensor, "views vertices 4"],
        faces: Int[Tensor, "faces 3"],
        *,
        size_px: tuple[int, int],
        derivatives: bool = False,
        closed: bool = False,
    ) -> Raster:
        """Find the nearest triangle at each pixel centre; `size_px` is (width, height). No face is culled.

        Left edges are inclusive, right edges exclusive, a horizontal edge belongs to the triangle below;
        equal depths go to the lowest index. Degenerate and non-finite triangles cover nothing. u and v are
        differentiable in `clip`, z/w is not. `closed` leaves out what is seen from behind.

        Raises:
            InputError: An index out of range, an impossible image size, a tensor of another type or device.
            ResourceError: More than 2^24 triangles.
        """
        return self._layers(clip, faces, size_px, layers=1, derivatives=derivatives, closed=closed)[0]

    def peel(
        self,
        clip: Float[Tensor, "views vertices 4"],
        faces: Int[Tensor, "faces 3"],
        *,
        size_px: tuple[int, int],
        layers: int,
        derivatives: bool = False,
    ) -> tuple[Raster, ...]:
        """The nearest surface, the next one behind it and so on: up to `layers`, without empty ones at the end.

        The first equals `rasterize`. Triangles at one depth follow each other by index. The first layer
        comes back even when it is empty.
        """
        return self._layers(clip, faces, size_px, layers=layers, derivatives=derivatives)

    def _layers(
        self,
        clip: Float[Tensor, "views vertices 4"],
        faces: Int[Tensor, "faces 3"],
        size_px: tuple[int, int],
        *,
        layers: int,
        derivatives: bool,
        closed: bool = False,
    ) -> tuple[Raster, ...]:
        check_size(size_px)
        if not len(clip):
            raise InputError("no views to rasterize")
        indices = checked_faces(faces, clip.shape[1])
        positions = as_array(clip)
        use_torch_threads()
        rasters: list[Raster] = []
        layer = None
        while len(rasters) < layers:
            layer = find_layer(
                positions, indices, size_px, behind=layer, last=len(rasters) == layers - 1, closed=closed
            )
            if rasters and not layer.rast[..., 3].any():
                break
            slopes = torch.from_numpy(screen_derivatives(positions, indices, layer.rast)) if derivatives else None
            rast = Barycentrics.apply(clip, layer.rast, indices)
            rasters.append(Raster(rast=rast, derivatives=slopes, clip=clip, faces=faces))
        return tuple(rasters)

    def interpolate(
        self, attributes: Float[Tensor, "vertices channels"], raster: Raster, faces: Int[Tensor, "faces 3"]
    ) -> Float[Tensor, "views height width channels"]:
        """Perspective-correct attributes per pixel, zero where empty. `faces` may index other arrays (uvs)."""
        indices = checked_faces(faces, len(attributes))
        check_ids(raster, len(indices))
        values = attributes.to(raster.rast.dtype)
        made_here = raster.rast.grad_fn is not None and raster.rast.grad_fn.name() == "BarycentricsBackward"
        if raster.clip is None or raster.faces is None or not made_here:  # a crop, say, has its own way back
            return Interpolate.apply(values, raster.rast, indices)
        drawn = indices if raster.faces is faces else checked_faces(raster.faces, raster.clip.shape[1])
        return InterpolateDrawn.apply(values, raster.clip, raster.rast.detach(), indices, drawn)

    def interpolate_derivatives(
        self, attributes: Float[Tensor, "vertices channels"], raster: Raster, faces: Int[Tensor, "faces 3"]
    ) -> Float[Tensor, "views height width channels 2"]:
        """Change of the attributes per pixel to the right and downwards, zero where empty.

        Differentiable in the attributes.

        Raises:
            InputError: When `raster` was made without derivatives.
        """
        if raster.derivatives is None:
            raise InputError("the raster carries no derivatives", remedy="rasterize with derivatives=True")
        corners = attributes.to(raster.rast.dtype)[faces.long()]
        edges = corners[:, :2] - corners[:, 2:]
        covered = raster.mask
        slopes = raster.derivatives[covered].unflatten(-1, (2, 2))
        change = torch.einsum("puc,pux->pcx", edges[raster.face_id[covered]], slopes)
        out = change.new_zeros(*covered.shape, *change.shape[1:])
        return out.masked_scatter(covered[..., None, None], change)

    def texture(
        self,
        maps: Float[Tensor, "maps rows columns channels"],
        uv: Float[Tensor, "views height width 2"],
        *,
        derivatives: Float[Tensor, "views height width 2 2"] | None = None,
        mask: Bool[Tensor, "views height width"] | None = None,
        sampling: Sampling = LINEAR,
    ) -> Float[Tensor, "views height width channels"]:
        """Read one texture, or one per view, at coordinates with (0, 0) at the corner of texel [0, 0].

        Differentiable in the texels, the coordinates and, with mip levels, their derivatives.

        Args:
            maps: Row 0 is v = 0.
            uv: Coordinates; texel centres lie at (i + 1/2) / size.
            derivatives: Change of (u, v) per pixel to the right and downwards, for mip levels.
            mask: Pixels to read; the others are zero.
            sampling: Filter and border.

        Raises:
            InputError: Neither one map nor one per view; mip levels without derivatives or beyond an odd side.
        """
        return sample_maps(maps[:, None], uv, derivatives, mask, sampling)

    def texture_cube(
        self,
        maps: Float[Tensor, "maps 6 side side channels"],
        directions: Float[Tensor, "views height width 3"],
        *,
        derivatives: Float[Tensor, "views height width 3 2"] | None = None,
        mask: Bool[Tensor, "views height width"] | None = None,
        sampling: Sampling = LINEAR,
    ) -> Float[Tensor, "views height width channels"]:
        """Read one cube map, or one per view, in given directions; filters across the cube's edges.

        Faces +x -x +y -y +z -z in OpenGL's layout. As `texture`, but `derivatives` are those of the direction,
        and `sampling.wrap` means nothing.
        """
        coordinates, change = cube_coordinates(directions, derivatives)
        return sample_maps(maps, coordinates, change, mask, sampling)

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
        check_ids(raster, len(indices))
        check_shape("the topology", mesh[1].shape, indices.shape)
        check_shape("the colour", color.shape[:3], raster.rast.shape[:3])
        check_shape("the clip positions", clip.shape[:1], raster.rast.shape[:1])
        rast = as_array(raster.rast)
        use_torch_threads()
        return Blend.apply(color, clip.to(color.dtype), find_silhouettes(as_array(clip), mesh, rast, search))

    def soft(
        self,
        attributes: Float[Tensor, "vertices channels"],
        clip: Float[Tensor, "views vertices 4"],
        faces: Int[Tensor, "faces 3"],
        *,
        size_px: tuple[int, int],
        softness: Softness,
    ) -> tuple[Float[Tensor, "views height width channels"], Float[Tensor, "views height width"]]:
        """Soft colour over black and soft coverage, as `raster.soft` defines them; differentiable in both inputs.

        Looks at near triangles only, and computes in float64 whatever the type.

        Raises:
            InputError: An index out of range, an impossible image size, a tensor of another type or device.
            ResourceError: More than 2^24 triangles.
        """
        check_size(size_px)
        indices = checked_faces(faces, min(clip.shape[1], len(attributes)))
        return Soften.apply(attributes.to(clip.dtype), clip, indices, size_px, softness)
