"""The rasteriser protocol, with nvdiffrast's semantics, and the G-buffer that shading reads."""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pipeline.raster.soft import Softness


@dataclass(frozen=True, eq=False, kw_only=True)
class Raster:
    """What each pixel sees, for a batch of views.

    Attributes:
        rast: Per pixel u, v, z/w and triangle index + 1 (0 = empty, then all four are zero).
            u weighs the triangle's vertex 0, v vertex 1, and 1 - u - v vertex 2; perspective-correct.
            Row 0 is NDC y = -1: with `Camera.clip_from_world`, the top of the photo.
        derivatives: du/dx, du/dy, dv/dx, dv/dy per pixel, x and y in pixels, when asked for; constants, they carry
            no gradient.
        clip: The clip positions that were drawn, when the backend made this raster of some.
        faces: The faces that were drawn.
    """

    rast: Float[Tensor, "views height width 4"]
    derivatives: Float[Tensor, "views height width 4"] | None = None
    clip: Float[Tensor, "views vertices 4"] | None = None
    faces: Int[Tensor, "faces 3"] | None = None

    @property
    def face_id(self) -> Int[Tensor, "views height width"]:
        """Triangle index per pixel, -1 where empty."""
        return self.rast[..., 3].to(torch.int64) - 1

    @property
    def mask(self) -> Bool[Tensor, "views height width"]:
        """Pixels that a triangle covers."""
        return self.rast[..., 3] > 0


@dataclass(frozen=True, eq=False, kw_only=True)
class Topology:
    """How the faces of a mesh hang together; depends on the indices only.

    Attributes:
        neighbours: Opposite each corner of a face, 2 * face + (1 if both run along the edge in the same direction),
            -1 at a border, -2 where more than two faces meet. Empty in backends with a structure of their own.
        native: That structure.
    """

    neighbours: Int[Tensor, "faces 3"]
    native: object = None


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a texture is read.

    Attributes:
        filtering: The texel that the coordinate falls into, a bilinear mix of four, or two bilinear mixes of
            neighbouring mip levels (needs screen derivatives).
        wrap: Whether the texture repeats beyond [0, 1]; else its border is continued.
        max_level: The coarsest mip level; by default as far as the sides halve without remainder.
    """

    filtering: Literal["nearest", "linear", "mip"] = "linear"
    wrap: bool = True
    max_level: int | None = None


LINEAR = Sampling()


@runtime_checkable
class Rasterizer(Protocol):
    """Coverage and interpolation of triangle meshes in clip space."""

    name: str
    deterministic: bool

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

        `closed` promises that the faces bound solids, counter-clockwise seen from outside in a picture with row 0 on
        top, and that no camera is inside: a backend may then skip those seen from behind, which changes no picture.
        """
        ...

    def peel(
        self,
        clip: Float[Tensor, "views vertices 4"],
        faces: Int[Tensor, "faces 3"],
        *,
        size_px: tuple[int, int],
        layers: int,
        derivatives: bool = False,
    ) -> tuple[Raster, ...]:
        """Surfaces behind each other, nearest first: up to `layers`, without empty ones at the end."""
        ...

    def interpolate(
        self, attributes: Float[Tensor, "vertices channels"], raster: Raster, faces: Int[Tensor, "faces 3"]
    ) -> Float[Tensor, "views height width channels"]:
        """Perspective-correct attributes per pixel, zero where empty. `faces` may index other arrays (uvs)."""
        ...

    def interpolate_derivatives(
        self, attributes: Float[Tensor, "vertices channels"], raster: Raster, faces: Int[Tensor, "faces 3"]
    ) -> Float[Tensor, "views height width channels 2"]:
        """Change of the attributes per pixel to the right and downwards; needs `Raster.derivatives`."""
        ...

    def texture(
        self,
        maps: Float[Tensor, "maps rows columns channels"],
        uv: Float[Tensor, "views height width 2"],
        *,
        derivatives: Float[Tensor, "views height width 2 2"] | None = None,
        mask: Bool[Tensor, "views height width"] | None = None,
        sampling: Sampling = LINEAR,
    ) -> Float[Tensor, "views height width channels"]:
        """Read one texture, or one per view, at coordinates with (0, 0) at the top left corner; zero off the mask."""
        ...

    def texture_cube(
        self,
        maps: Float[Tensor, "maps 6 side side channels"],
        directions: Float[Tensor, "views height width 3"],
        *,
        derivatives: Float[Tensor, "views height width 3 2"] | None = None,
        mask: Bool[Tensor, "views height width"] | None = None,
        sampling: Sampling = LINEAR,
    ) -> Float[Tensor, "views height width channels"]:
        """Read one cube map, or one per view, in given directions (of any length); zero off the mask.

        Faces +x -x +y -y +z -z in OpenGL's layout.
        """
        ...

    def topology(self, faces: Int[Tensor, "faces 3"]) -> Topology:
        """What `antialias` needs to know about the faces; keep it while they stay the same."""
        ...

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
        """Blend colours across silhouettes; carries the gradient of coverage to the clip positions.

        `search` is how many faces beyond the visible triangle the CPU backend walks to the silhouette;
        nvdiffrast knows only 0, so its gradient is sparser: render larger there and downsample.
        """
        ...

    def soft(
        self,
        attributes: Float[Tensor, "vertices channels"],
        clip: Float[Tensor, "views vertices 4"],
        faces: Int[Tensor, "faces 3"],
        *,
        size_px: tuple[int, int],
        softness: Softness,
    ) -> tuple[Float[Tensor, "views height width channels"], Float[Tensor, "views height width"]]:
        """Soft colour over black and soft coverage, as `raster.soft` defines them: the other estimator of gradients."""
        ...


@dataclass(frozen=True, eq=False, kw_only=True)
class GBuffer:
    """Geometry per pixel of a batch of views, in the world frame.

    Attributes:
        mask: Covered pixels.
        position: World position.
        normal: Unit shading normal, facing outwards.
        uv: Texture coordinates, (0, 0) top left.
        barycentrics: Weights of the triangle's vertices 0 and 1.
        face_id: Triangle index, -1 where empty.
        depth: z along the camera's axis, world units.
        uv_derivatives: Change of `uv` per pixel to the right and downwards, when asked for.
    """

    mask: Bool[Tensor, "views height width"]
    position: Float[Tensor, "views height width 3"]
    normal: Float[Tensor, "views height width 3"]
    uv: Float[Tensor, "views height width 2"]
    barycentrics: Float[Tensor, "views height width 2"]
    face_id: Int[Tensor, "views height width"]
    depth: Float[Tensor, "views height width"]
    uv_derivatives: Float[Tensor, "views height width 2 2"] | None = None
