"""Render an asset as a camera sees it: colour and the maps behind it."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pipeline.geometry.mesh_ops import vertex_normals
from pipeline.raster.gbuffer import render_gbuffer
from pipeline.raster.rasterizer import Rasterizer
from pipeline.scene import Asset, Camera, Environment, Material, Mesh
from pipeline.shading.shade import shade
from pipeline.shading.shadowed_light import Bounce, bounce_light, shadowed_light
from pipeline.shading.texture_pyramid import sample_texture
from pipeline.shading.visibility import Visibility, surface_points, trace_visibility


@dataclass(frozen=True, eq=False, kw_only=True)
class Picture:
    """One view of an asset; every map is zero outside the mask.

    Attributes:
        mask: Pixels whose centre the asset covers.
        color: Linear radiance.
        base_color: Linear RGB.
        normal: Unit world normals.
        roughness: In [0, 1].
        metallic: In [0, 1].
    """

    mask: Bool[Tensor, "height width"]
    color: Float[Tensor, "height width 3"]
    base_color: Float[Tensor, "height width 3"]
    normal: Float[Tensor, "height width 3"]
    roughness: Float[Tensor, "height width"]
    metallic: Float[Tensor, "height width"]


@dataclass(frozen=True, eq=False, kw_only=True)
class LitMesh:
    """A mesh ready to be rendered under a light, from any camera.

    Attributes:
        normals: Unit vertex normals.
        visibility: What its vertices see.
        environment: The light.
        bounce: The light between its parts.
    """

    normals: Float[Tensor, "vertices 3"]
    visibility: Visibility
    environment: Environment
    bounce: Bounce


def render(asset: Asset, scene: LitMesh, camera: Camera, rasterizer: Rasterizer) -> Picture:
    """Render an asset under a light, with its own shadows and one bounce.

    Args:
        asset: With material.
        scene: What `light_mesh` made of the asset and the light.
        camera: One camera.
        rasterizer: The backend.

    Raises:
        ValueError: When the asset is blank.
    """
    if asset.material is None:
        raise ValueError("a blank asset cannot be rendered")
    buffer = render_gbuffer(rasterizer, asset.mesh, scene.normals, camera)
    mask = buffer.mask[0]
    normal, position, uv = buffer.normal[0][mask], buffer.position[0][mask], buffer.uv[0][mask]
    wo = torch.nn.functional.normalize(camera.camera_center.to(position) - position, dim=-1)
    values = material_at(asset.material, uv)
    base_color, roughness, metallic = values[:, :3], values[:, 3], values[:, 4]
    points = surface_points(asset.mesh, buffer.face_id[0][mask], buffer.barycentrics[0][mask])
    with torch.no_grad():
        light = shadowed_light(scene.environment, scene.visibility, points, scene.bounce)
        color = shade(light, base_color=base_color, roughness=roughness, metallic=metallic, normal=normal, wo=wo)

    def spread(covered: Tensor) -> Tensor:
        full = torch.zeros(*mask.shape, *covered.shape[1:], device=covered.device)
        full[mask] = covered
        return full

    return Picture(
        mask=mask,
        color=spread(color),
        base_color=spread(base_color),
        normal=spread(normal),
        roughness=spread(roughness),
        metallic=spread(metallic),
    )


def material_at(material: Material, uv: Float[Tensor, "points 2"]) -> Float[Tensor, "points 5"]:
    """Base colour, roughness and metallic at texture coordinates."""
    maps = torch.cat([material.base_color, material.orm[..., 1:]], -1)
    return sample_texture(maps, uv)


def light_mesh(asset: Asset, environment: Environment) -> LitMesh:
    """Trace what the vertices see, and bounce the light once.

    Raises:
        ValueError: When the asset is blank.
    """
    if asset.material is None:
        raise ValueError("a blank asset cannot be lit")
    mesh = asset.mesh
    normals = vertex_normals(mesh.vertices, mesh.faces)
    visibility = trace_visibility(mesh.vertices, mesh.faces, normals)
    values = material_at(asset.material, vertex_uvs(mesh))
    reflectance = values[:, :3] * (1 - values[:, 4:])
    return LitMesh(
        normals=normals,
        visibility=visibility,
        environment=environment,
        bounce=bounce_light(environment, visibility, reflectance),
    )


def vertex_uvs(mesh: Mesh) -> Float[Tensor, "vertices 2"]:
    """One texture coordinate per vertex: at seams, that of any of its charts.

    Raises:
        ValueError: When the mesh has no texture coordinates.
    """
    if mesh.uvs is None or mesh.uv_faces is None:
        raise ValueError("the mesh has no texture coordinates")
    # the least index, as duplicate writes would leave the choice to chance
    chosen = torch.full((len(mesh.vertices),), len(mesh.uvs), dtype=mesh.uv_faces.dtype, device=mesh.uvs.device)
    chosen.scatter_reduce_(0, mesh.faces.reshape(-1), mesh.uv_faces.reshape(-1), "amin")
    return torch.cat([mesh.uvs, mesh.uvs.new_zeros(1, 2)])[chosen]
