"""nvdiffrast behind the rasteriser protocol: a GPU in place of the embedded kernels.

Written from nvdiffrast's documentation (Laine et al. 2020, "Modular Primitives for High-Performance Differentiable
Rendering"). Its licence is for research and evaluation only, so it is an optional extra and is never imported unless
asked for or found beside a GPU. Versions from 0.3.3 on take images of any size.

It computes on its own device: tensors from another one are moved there, and the results back to where the first
argument lies. What differs from the `cpu` backend: float32 only; vertices are snapped to a sub-pixel grid, so that
pixels whose centre lies within about 1/16 px of an edge may see the other triangle; silhouettes are found on the
visible triangle's own edges only (`search` is not known); sums are taken in any order, so results repeat to
rounding, not to the bit.
"""

import importlib
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pipeline.errors import InputError, ResourceError
from pipeline.raster.rasterizer import LINEAR, Raster, Sampling, Topology
from pipeline.raster.soft import Softness, soft_render

NEEDED = (
    "RasterizeCudaContext",
    "rasterize",
    "interpolate",
    "texture",
    "antialias",
    "antialias_construct_topology_hash",
    "DepthPeeler",
)
_FILTERS = {"nearest": "nearest", "linear": "linear", "mip": "linear-mipmap-linear"}


def load_nvdiffrast() -> ModuleType:
    """Import nvdiffrast's torch interface.

    Raises:
        ResourceError: When it is not installed, cannot be imported, or lacks a function that is needed.
    """
    remedy = "pip install recon-pbr[gpu], or runtime.rasterizer=cpu: the same results, slower"
    try:
        module = importlib.import_module("nvdiffrast.torch")
    except (ImportError, OSError) as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name in ("nvdiffrast", "nvdiffrast.torch")
        what = "nvdiffrast is not installed" if missing else f"nvdiffrast cannot be imported: {_first_line(error)}"
        raise ResourceError(what, remedy=remedy) from error
    missing_names = [name for name in NEEDED if not hasattr(module, name)]
    if missing_names:
        raise ResourceError(f"the installed nvdiffrast has no {', '.join(missing_names)}", remedy=remedy)
    return module


class NvdiffrastRasterizer:
    """`Rasterizer` by nvdiffrast; float32.

    Args:
        module: `nvdiffrast.torch`, as `load_nvdiffrast` returns it.
        device: Where it computes.

    Raises:
        ResourceError: When no context can be made: the first use compiles the extension, for which nvcc is needed.
    """

    name = "nvdiffrast"
    deterministic = False

    def __init__(self, module: ModuleType, device: torch.device) -> None:
        self._dr: Any = module
        self._device = device
        try:
            self._context = module.RasterizeCudaContext(device=device)
        except Exception as error:  # it compiles itself here: anything may fail
            raise ResourceError(
                f"nvdiffrast makes no context on {device}: {_first_line(error)}",
                remedy="its first use needs nvcc and ninja; runtime.rasterizer=cpu gives the same results, slower",
            ) from error

    def rasterize(
        self,
        clip: Float[Tensor, "views vertices 4"],
        faces: Int[Tensor, "faces 3"],
        *,
        size_px: tuple[int, int],
        derivatives: bool = False,
        closed: bool = False,
    ) -> Raster:
        """Find the nearest triangle at each pixel centre; `size_px` is (width, height). `closed` changes nothing."""
        rast, slopes = self._dr.rasterize(
            self._context, *self._drawn(clip, faces), resolution=(size_px[1], size_px[0]), grad_db=False
        )
        return _raster(rast, slopes if derivatives else None, clip, faces)

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
        resolution, rasters = (size_px[1], size_px[0]), list[Raster]()
        drawn = self._drawn(clip, faces)
        with self._dr.DepthPeeler(self._context, *drawn, resolution=resolution, grad_db=False) as peeler:
            while len(rasters) < layers:
                rast, slopes = peeler.rasterize_next_layer()
                if rasters and not bool((rast[..., 3] > 0).any()):
                    break
                rasters.append(_raster(rast, slopes if derivatives else None, clip, faces))
        return tuple(rasters)

    def interpolate(
        self, attributes: Float[Tensor, "vertices channels"], raster: Raster, faces: Int[Tensor, "faces 3"]
    ) -> Float[Tensor, "views height width channels"]:
        """Perspective-correct attributes per pixel, zero where empty. `faces` may index other arrays (uvs)."""
        values, rast = self._floats(attributes)[None], self._floats(raster.rast)
        out, _ = self._dr.interpolate(values, rast, self._indices(faces))
        return out.to(attributes.device)

    def interpolate_derivatives(
        self, attributes: Float[Tensor, "vertices channels"], raster: Raster, faces: Int[Tensor, "faces 3"]
    ) -> Float[Tensor, "views height width channels 2"]:
        """Change of the attributes per pixel to the right and downwards, zero where empty.

        Raises:
            InputError: When `raster` was made without derivatives.
        """
        if raster.derivatives is None:
            raise InputError("the raster carries no derivatives", remedy="rasterize with derivatives=True")
        _, slopes = self._dr.interpolate(
            self._floats(attributes)[None],
            self._floats(raster.rast),
            self._indices(faces),
            rast_db=self._floats(raster.derivatives),
            diff_attrs="all",
        )
        return slopes.unflatten(-1, (-1, 2)).to(attributes.device)

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
        return self._sample(maps, uv, derivatives, mask, (sampling, "wrap" if sampling.wrap else "clamp"))

    def texture_cube(
        self,
        maps: Float[Tensor, "maps 6 side side channels"],
        directions: Float[Tensor, "views height width 3"],
        *,
        derivatives: Float[Tensor, "views height width 3 2"] | None = None,
        mask: Bool[Tensor, "views height width"] | None = None,
        sampling: Sampling = LINEAR,
    ) -> Float[Tensor, "views height width channels"]:
        """Read one cube map, or one per view, in given directions (of any length); zero off the mask."""
        return self._sample(maps, directions, derivatives, mask, (sampling, "cube"))

    def _sample(
        self, maps: Tensor, where: Tensor, derivatives: Tensor | None, mask: Tensor | None, how: tuple[Sampling, str]
    ) -> Tensor:
        sampling, boundary = how
        options: dict[str, Any] = {"filter_mode": _FILTERS[sampling.filtering], "boundary_mode": boundary}
        if sampling.filtering == "mip":
            if derivatives is None:
                raise InputError("mip levels need screen derivatives", remedy="rasterize with derivatives=True")
            options["uv_da"] = self._floats(derivatives.flatten(-2))
            options["max_mip_level"] = coarsest_level(maps.shape[-3], maps.shape[-2], sampling.max_level)
        if mask is not None:  # coordinates off the mask may be anything
            where = torch.where(mask[..., None], where, torch.ones_like(where))
        color = self._dr.texture(self._floats(maps), self._floats(where), **options).to(maps.device)
        return color if mask is None else color * mask[..., None]

    def topology(self, faces: Int[Tensor, "faces 3"]) -> Topology:
        """What `antialias` needs to know about the faces; keep it while they stay the same."""
        return Topology(
            neighbours=faces.new_empty(0, 3),
            native=self._dr.antialias_construct_topology_hash(self._indices(faces)),
        )

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
        """Blend colours across the silhouettes that visible triangles own; `search` is not known here."""
        native = None if topology is None else topology.native
        image = self._floats(color), self._floats(raster.rast)
        return self._dr.antialias(*image, *self._drawn(clip, faces), topology_hash=native).to(color.device)

    def soft(
        self,
        attributes: Float[Tensor, "vertices channels"],
        clip: Float[Tensor, "views vertices 4"],
        faces: Int[Tensor, "faces 3"],
        *,
        size_px: tuple[int, int],
        softness: Softness,
    ) -> tuple[Float[Tensor, "views height width channels"], Float[Tensor, "views height width"]]:
        """Soft colour and coverage, in torch: nvdiffrast has no such mode."""
        return soft_render(attributes, clip, faces, size_px=size_px, softness=softness)

    def _floats(self, values: Tensor) -> Tensor:
        return values.to(self._device, torch.float32).contiguous()

    def _indices(self, faces: Tensor) -> Tensor:
        return faces.to(self._device, torch.int32).contiguous()

    def _drawn(self, clip: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
        return self._floats(clip), self._indices(faces)


def coarsest_level(height: int, width: int, wanted: int | None) -> int:
    """The last mip level down to `wanted`: levels halve both sides without remainder, but for a side of 1.

    Raises:
        InputError: When a side is odd before `wanted` is reached.
    """
    level, sides = 0, (height, width)
    while level != wanted and sides != (1, 1):
        if any(side > 1 and side % 2 for side in sides):
            if wanted is None:
                break
            raise InputError(
                f"a texture of {width} x {height} texels has no mip level {level + 1}", remedy=f"use max_level={level}"
            )
        level, sides = level + 1, (max(1, sides[0] // 2), max(1, sides[1] // 2))
    return level


def _first_line(error: Exception) -> str:
    """The head of a message: a compiler's may be pages long."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _raster(rast: Tensor, slopes: Tensor | None, clip: Tensor, faces: Tensor) -> Raster:
    """A raster where `clip` lies, with u, v inside the simplex, which versions before 0.3.5 leave by rounding."""
    rast = rast.to(clip.device)
    u = rast[..., 0].clamp(0, 1)
    v = rast[..., 1].clamp_min(0)
    v = v - (v - (1 - u)).clamp_min(0).detach()  # a minimum would halve the gradient where both are equal
    inside = torch.cat([torch.stack([u, v], -1), rast[..., 2:]], -1)
    slopes = None if slopes is None else slopes.detach().to(clip.device)
    return Raster(rast=inside, derivatives=slopes, clip=clip, faces=faces)
