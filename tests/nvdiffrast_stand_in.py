"""What `nvdiffrast.torch` offers, for machines without a GPU: its signatures, its strictness, its results.

The adapter is tested on it. It is written from nvdiffrast's public documentation over recon's own CPU rasteriser with
`search=0`, which is nvdiffrast's rule for silhouettes, and refuses what nvdiffrast refuses: other types, shapes and
strides. It cannot tell what differs by rounding, by snapped vertices or by the order of sums.
"""

import torch
from torch import Tensor

from pipeline.errors import InputError
from pipeline.raster.cpu import CpuRasterizer
from pipeline.raster.rasterizer import Raster, Sampling

_CPU = CpuRasterizer()
_ALL_LEVELS = 64


class RasterizeCudaContext:
    """Device memory of the rasteriser; one depth peeler at a time may use it."""

    def __init__(self, device=None):
        self.device = device
        self.peeler = None


class TopologyHash:
    """Opaque."""

    def __init__(self, topology):
        self.topology = topology


def rasterize(glctx, pos, tri, resolution, ranges=None, grad_db=True):
    if glctx.peeler is not None:
        raise RuntimeError("rasterize() during depth peeling: use rasterize_next_layer()")
    _check_drawn(glctx, pos, tri, resolution, ranges, grad_db)
    return _unpacked(_CPU.rasterize(pos, tri, size_px=(resolution[1], resolution[0]), derivatives=True))


class DepthPeeler:
    def __init__(self, glctx, pos, tri, resolution, ranges=None, grad_db=True):
        _check_drawn(glctx, pos, tri, resolution, ranges, grad_db)
        self._context, self._size, self._pos, self._tri = glctx, (resolution[1], resolution[0]), pos, tri
        self._layers = 0

    def __enter__(self):
        if self._context.peeler is not None:
            raise RuntimeError("another depth peeler is active in this context")
        self._context.peeler = self
        return self

    def __exit__(self, *error):
        self._context.peeler = None

    def rasterize_next_layer(self):
        if self._context.peeler is not self:
            raise RuntimeError("the depth peeler is not entered")
        self._layers += 1
        found = _CPU.peel(self._pos, self._tri, size_px=self._size, layers=self._layers, derivatives=True)
        if len(found) < self._layers:
            empty = torch.zeros(len(self._pos), self._size[1], self._size[0], 4)
            return empty, empty.clone()
        return _unpacked(found[-1])


def interpolate(attr, rast, tri, rast_db=None, diff_attrs=None):
    _check("attr", attr, (None, None, None))
    _check("rast", rast, (None, None, None, 4))
    _check("tri", tri, (None, 3), torch.int32)
    _check_batch(attr, rast)
    chosen = list(range(attr.shape[2])) if diff_attrs == "all" else list(diff_attrs or [])
    if chosen and rast_db is None:
        raise ValueError("diff_attrs needs rast_db")
    if rast_db is not None:
        _check("rast_db", rast_db, tuple(rast.shape))
    views, slopes = [], []
    for view in range(len(rast)):
        values, one = attr[view if len(attr) > 1 else 0], slice(view, view + 1)
        raster = Raster(rast=rast[one], derivatives=rast_db[one] if chosen else None)
        views.append(_CPU.interpolate(values, raster, tri))
        if chosen:
            slopes.append(_CPU.interpolate_derivatives(values[:, chosen], raster, tri).flatten(-2))
    return torch.cat(views), torch.cat(slopes) if chosen else torch.empty(0)


def texture(  # noqa: PLR0913 - nvdiffrast's own signature
    tex,
    uv,
    uv_da=None,
    mip_level_bias=None,
    mip=None,
    filter_mode="auto",
    boundary_mode="wrap",
    max_mip_level=None,
):
    if mip_level_bias is not None or mip is not None or boundary_mode not in ("wrap", "clamp", "cube"):
        raise NotImplementedError("the stand-in knows neither levels nor mips from outside, nor a border of zeros")
    if filter_mode == "auto":
        filter_mode = "linear" if uv_da is None else "linear-mipmap-linear"
    cube = boundary_mode == "cube"
    _check("tex", tex, (None, 6, None, None, None) if cube else (None, None, None, None))
    if cube and tex.shape[2] != tex.shape[3]:
        raise ValueError(f"the faces of a cube map are squares, not {tuple(tex.shape)}")
    _check("uv", uv, (None, None, None, 3 if cube else 2))
    _check_batch(tex, uv)
    options = {"sampling": Sampling(filtering="nearest" if filter_mode == "nearest" else "linear")}
    if filter_mode == "linear-mipmap-linear":
        if uv_da is None:
            raise ValueError("mip levels need uv_da")
        _check("uv_da", uv_da, (*uv.shape[:3], 6 if cube else 4))
        levels = _ALL_LEVELS if max_mip_level is None else max_mip_level
        options["sampling"] = Sampling(filtering="mip", wrap=boundary_mode == "wrap", max_level=levels)
        options["derivatives"] = uv_da.unflatten(-1, (-1, 2))
    elif filter_mode in ("nearest", "linear"):
        options["sampling"] = Sampling(filtering=filter_mode, wrap=boundary_mode == "wrap")
    else:
        raise NotImplementedError(filter_mode)
    try:
        return _CPU.texture_cube(tex, uv, **options) if cube else _CPU.texture(tex, uv, **options)
    except InputError as error:
        raise RuntimeError(f"a mip level's side is odd: {error}") from error


def antialias_construct_topology_hash(tri):
    _check("tri", tri, (None, 3), torch.int32)
    return TopologyHash(_CPU.topology(tri))


def antialias(color, rast, pos, tri, topology_hash=None, pos_gradient_boost=1.0):
    _check("color", color, (None, None, None, None))
    _check("rast", rast, (*color.shape[:3], 4))
    _check("pos", pos, (len(color), None, 4))
    _check("tri", tri, (None, 3), torch.int32)
    if pos_gradient_boost != 1.0:
        raise NotImplementedError("pos_gradient_boost")
    if not isinstance(topology_hash, TopologyHash | None):
        raise TypeError("topology_hash is not what antialias_construct_topology_hash() returns")
    known = antialias_construct_topology_hash(tri) if topology_hash is None else topology_hash
    return _CPU.antialias(color, Raster(rast=rast.detach()), pos, tri, topology=known.topology, search=0)


def _unpacked(raster):
    return raster.rast, raster.derivatives


def _check_drawn(glctx, pos, tri, resolution, ranges, grad_db):
    if not isinstance(glctx, RasterizeCudaContext):
        raise TypeError("glctx is no context")
    if ranges is not None or grad_db:
        raise NotImplementedError("the stand-in knows neither ranges nor gradients of derivatives")
    _check("pos", pos, (None, None, 4))
    _check("tri", tri, (None, 3), torch.int32)
    if [type(n) for n in resolution] != [int, int] or min(resolution) < 1:
        raise ValueError(f"resolution {resolution} is no (height, width)")


def _check(name, tensor, shape, dtype=torch.float32):
    """Refuse what the extension refuses: another type, shape or stride, or an empty tensor."""
    if not isinstance(tensor, Tensor) or tensor.dtype != dtype:
        raise TypeError(f"{name} is not a {dtype} tensor")
    fits = tensor.ndim == len(shape) and all(want in (None, n) for n, want in zip(tensor.shape, shape, strict=True))
    if not fits or tensor.numel() == 0:
        raise ValueError(f"{name} has the shape {tuple(tensor.shape)}, not {shape}")
    if not tensor.is_contiguous():
        raise ValueError(f"{name} is not contiguous")


def _check_batch(shared, batch):
    if len(shared) not in (1, len(batch)):
        raise ValueError(f"minibatch sizes {len(shared)} and {len(batch)} do not go together")
