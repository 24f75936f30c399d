"""What an asset's maps are in the pixels of a view, to be compared with the true ones."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import conv2d, normalize

from pipeline.bench.tracer import FILTER_PX, Placed
from pipeline.geometry.tangents import mikktspace_tangents
from pipeline.raster.gbuffer import render_gbuffer
from pipeline.raster.rasterizer import Rasterizer
from pipeline.scene import Camera
from pipeline.shading.material_maps import material_in_view
from pipeline.shading.normal_mapping import mapped_normals, seen_from_behind
from pipeline.shading.visibility import surface_points

SAMPLES = 3  # along each side of a pixel


@dataclass(frozen=True, eq=False, kw_only=True)
class SeenMaps:
    """Means over the covered part of each pixel; zero where the asset is not seen.

    Attributes:
        mask: Where it covers more than half of a pixel.
        base_color: Linear RGB.
        roughness: Perceptual roughness.
        metallic: 0 dielectric .. 1 metal.
        normal: Unit normals towards the viewer, with the normal map.
    """

    mask: Bool[Tensor, "height width"]
    base_color: Float[Tensor, "height width 3"]
    roughness: Float[Tensor, "height width"]
    metallic: Float[Tensor, "height width"]
    normal: Float[Tensor, "height width 3"]


def seen_maps(placed: Placed, camera: Camera, rasterizer: Rasterizer) -> SeenMaps:
    """The maps of an asset in a view; textures are read bilinearly."""
    fine = camera.resized(camera.width * SAMPLES, camera.height * SAMPLES)
    buffer = render_gbuffer(rasterizer, placed.mesh, placed.normals, fine)
    mask = buffer.mask[0]
    points = surface_points(placed.mesh, buffer.face_id[0][mask], buffer.barycentrics[0][mask])
    wo = normalize(camera.camera_center.to(buffer.position) - buffer.position[0][mask], dim=-1)
    values = material_in_view(placed.material, buffer, rasterizer)
    normal = points.blend(placed.normals)
    if placed.material.normal is not None:
        tangents = placed.tangents
        if tangents is None:
            tangents = mikktspace_tangents(placed.mesh, placed.normals)
        tangent = torch.einsum("pc,pck->pk", points.weights, tangents[buffer.face_id[0][mask]])
        normal = mapped_normals(normal, tangent, values[:, 6:9])
    normal = normalize(normal, dim=-1) * seen_from_behind(placed.mesh, points, wo)
    full = torch.zeros(*mask.shape, 9)
    full[mask] = torch.cat([torch.ones(len(normal), 1), values[:, :3], values[:, 4:6], normal], 1)
    sums = _filtered(full)
    covered = sums[..., 0]
    means = sums[..., 1:] / covered.clamp_min(1e-6)[..., None]
    return SeenMaps(
        mask=covered > 0.5,
        base_color=means[..., :3],
        roughness=means[..., 3],
        metallic=means[..., 4],
        normal=normalize(means[..., 5:], dim=-1),
    )


def _filtered(samples: Float[Tensor, "rows columns channels"]) -> Float[Tensor, "height width channels"]:
    """Pixels from samples of their own and of the next pixels, weighed as the path tracer does."""
    offset = (torch.arange(3 * SAMPLES) + 0.5) / SAMPLES - 1.5
    weight = torch.softmax(-0.5 * (offset / FILTER_PX) ** 2, 0)
    planes = samples.movedim(-1, 0)[:, None]
    for kernel, stride in ((weight[:, None], (SAMPLES, 1)), (weight[None], (1, SAMPLES))):
        padding = (SAMPLES if stride[0] > 1 else 0, SAMPLES if stride[1] > 1 else 0)
        planes = conv2d(planes, kernel[None, None], stride=stride, padding=padding)
    return planes[:, 0].movedim(0, -1)
