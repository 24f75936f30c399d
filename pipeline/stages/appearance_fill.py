"""Give texels that no photo shows the values of the nearest ones that photos do show."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from scipy.spatial import cKDTree
from torch import Tensor

from pipeline.raster.rasterizer import Raster, Rasterizer
from pipeline.scene import Mesh
from pipeline.shading.texture_pyramid import bilinear_texels


def seen_weight(uv: Float[Tensor, "pixels 2"], size: int) -> Float[Tensor, "size size"]:
    """How many photo pixels bear on each texel."""
    total = torch.zeros(size * size, dtype=torch.float32)
    for part in uv.split(2_000_000):
        corner, weights = bilinear_texels(part, size)
        total.index_add_(0, corner.reshape(-1), weights.reshape(-1))
    return total.reshape(size, size)


def rasterize_charts(mesh: Mesh, size: int, rasterizer: Rasterizer) -> Raster:
    """The mesh as it lies in its texture, a pixel for each texel.

    Raises:
        ValueError: When the mesh has no texture coordinates.
    """
    if mesh.uvs is None or mesh.uv_faces is None:
        raise ValueError("the mesh has no texture coordinates")
    clip = torch.cat([mesh.uvs * 2 - 1, torch.zeros(len(mesh.uvs), 1), torch.ones(len(mesh.uvs), 1)], 1)
    return rasterizer.rasterize(clip[None], mesh.uv_faces, size_px=(size, size))


def texel_surface(
    mesh: Mesh, values: Float[Tensor, "vertices channels"], size: int, rasterizer: Rasterizer
) -> tuple[Bool[Tensor, "size size"], Float[Tensor, "size size channels"]]:
    """Texels whose centre lies in a chart, and vertex values (positions, say) interpolated at them."""
    raster = rasterize_charts(mesh, size, rasterizer)
    return raster.mask[0], rasterizer.interpolate(values, raster, mesh.faces)[0]


def fill_unseen(
    maps: Float[Tensor, "size size channels"],
    seen: Bool[Tensor, "size size"],
    in_chart: Bool[Tensor, "size size"],
    position: Float[Tensor, "size size 3"],
) -> Float[Tensor, "size size channels"]:
    """Fill charts from the nearest seen surface, and the gaps between charts from the nearest chart texel.

    Args:
        maps: Texture values.
        seen: Texels that photos show.
        in_chart: Texels on the surface.
        position: World position of the texels on the surface.
    """
    filled = maps.numpy().copy()
    known, unknown = (seen & in_chart).numpy(), (in_chart & ~seen).numpy()
    if known.any() and unknown.any():
        points = position.numpy()
        _, nearest = cKDTree(points[known]).query(points[unknown], k=min(4, int(known.sum())), workers=-1)
        filled[unknown] = filled[known][nearest.reshape(unknown.sum(), -1)].mean(1)
    if in_chart.any():
        _, (row, column) = ndimage.distance_transform_edt(~in_chart.numpy(), return_indices=True)
        filled = filled[row, column]
    return torch.from_numpy(np.ascontiguousarray(filled))
