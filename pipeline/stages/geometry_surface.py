"""A surface out of the values of a grid, drawn with material and light, and compared with photos."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from pipeline.geometry.normals import vertex_normals
from pipeline.losses import log_srgb_difference
from pipeline.raster.gbuffer import clip_positions, depth_range
from pipeline.raster.rasterizer import Rasterizer
from pipeline.scene import Camera
from pipeline.shading.prefilter import PrefilteredLight
from pipeline.shading.shade import shade
from pipeline.stages.geometry_joint_photos import Photos

MIN_ROUGHNESS = 0.08  # nvdiffrec's train.py, ks_min


@dataclass(frozen=True, eq=False, kw_only=True)
class Crossing:
    """A surface with its material, and what lies at the two ends of the edges of the grid that cross it.

    Attributes:
        faces: Triangles.
        vertices: World units.
        material: Base colour, roughness from the least to 1, and metallic, each in [0, 1].
        sdf_ends: Signed values at the ends.
        material_ends: Material at the ends.
        deviation: How unevenly far FlexiCubes' vertices lie from the crossings that they stand for, world units.
    """

    faces: Int[Tensor, "faces 3"]
    vertices: Float[Tensor, "vertices 3"]
    material: Float[Tensor, "vertices 5"]
    sdf_ends: Float[Tensor, "2 edges"]
    material_ends: Float[Tensor, "2 edges 5"]
    deviation: Float[Tensor, "dual"] | None = None


def between(
    faces: Int[Tensor, "faces 3"],
    *,
    position: Float[Tensor, "2 edges 3"],
    sdf: Float[Tensor, "2 edges"],
    material: Float[Tensor, "2 edges 5"],
) -> Crossing:
    """The surface of marching tetrahedra, whose vertices lie where linear values cross zero between two ends each."""
    t = (sdf[0] / (sdf[0] - sdf[1]))[:, None]
    return Crossing(
        faces=faces,
        vertices=torch.lerp(position[0], position[1], t),
        material=torch.lerp(material[0], material[1], t),
        sdf_ends=sdf,
        material_ends=material,
    )


def drawn(
    surface: Crossing,
    camera: Camera,
    background: Float[Tensor, "views size size 3"],
    *,
    light: PrefilteredLight,
    bounds: Float[Tensor, "corners 3"],
    rasterizer: Rasterizer,
) -> Float[Tensor, "views size size 4"]:
    """Antialiased linear colour over the background, and coverage; differentiable with respect to all of the surface.

    Args:
        surface: What is drawn; its triangles look alike from both sides.
        camera: All views, in one batch.
        background: Linear RGB.
        light: On points in the open; where the light turns with each view, `turn.of_point` tells that of each view.
        bounds: Points around the surface, for the range of depths.
        rasterizer: Draws.
    """
    vertices, faces = surface.vertices, surface.faces
    near, far = depth_range(bounds, camera)
    clip = clip_positions(vertices, camera, near=near, far=far)
    raster = rasterizer.rasterize(clip, faces, size_px=(camera.width, camera.height))
    values = torch.cat([vertices, vertex_normals(vertices, faces), surface.material], 1)
    shown, view = rasterizer.interpolate(values, raster, faces)[raster.mask], raster.mask.nonzero()[:, 0]
    wo = normalize(camera.camera_center.float()[view] - shown[:, :3], dim=-1)
    normal = normalize(shown[:, 3:6], dim=-1)
    seen_from_behind = ((normal * wo).sum(-1, keepdim=True) < 0).detach()
    if light.turn is not None:
        light = replace(light, turn=replace(light.turn, of_point=light.turn.of_point[view]))
    color = shade(
        light,
        base_color=shown[:, 6:9],
        roughness=MIN_ROUGHNESS + (1 - MIN_ROUGHNESS) * shown[:, 9],
        metallic=shown[:, 10],
        normal=torch.where(seen_from_behind, -normal, normal),  # nvdiffrec's render.py, two_sided_shading
        wo=wo,
    )
    image = torch.cat([background, torch.zeros_like(background[..., :1])], -1)
    image = image.index_put((raster.mask,), torch.cat([color, torch.ones_like(color[:, :1])], 1))
    return rasterizer.antialias(image, raster, clip, faces)


def image_loss(
    image: Float[Tensor, "views size size 4"], photos: Photos, background: Float[Tensor, "views size size 3"]
) -> Float[Tensor, ""]:
    """Squared difference of coverage, and absolute one of colour inside the masks (dmtet.py, tick; train.py, logl1).

    Colours are compared over the same background, and where the photos are known.
    """
    coverage = (image[..., 3] - photos.alpha).square() * photos.known
    inside = photos.alpha > 0  # elsewhere both sides are black
    alpha = photos.alpha[inside][:, None]
    target = torch.lerp(background[inside], photos.color[inside], alpha)
    color = log_srgb_difference(image[inside][:, :3] * alpha, target * alpha)
    return coverage.mean() + color.sum() / photos.alpha.numel()
