"""Render an asset as a camera sees it: colour and the maps behind it."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

from pipeline.geometry.normals import shading_normals
from pipeline.geometry.tangents import mikktspace_tangents
from pipeline.geometry.tessellation import tessellated
from pipeline.raster.gbuffer import render_gbuffer
from pipeline.raster.rasterizer import Rasterizer
from pipeline.scene import Asset, Camera, Environment, Mesh
from pipeline.shading.material_maps import material_in_view, reflectance_at
from pipeline.shading.normal_mapping import mapped_normals, seen_from_behind, visible_normals
from pipeline.shading.shade import shade
from pipeline.shading.shadowed_light import Bounce, ShadowedLight, bent_light, bounce_light, shadowed_light
from pipeline.shading.visibility import SurfacePoints, Visibility, surface_points, trace_visibility

_POINTS_AT_ONCE = 2**18


@dataclass(frozen=True, eq=False, kw_only=True)
class Picture:
    """One view of an asset; every map is zero outside the mask, and holds means over the covered part of each pixel.

    Attributes:
        mask: Pixels of which the asset covers a part.
        alpha: The part that it covers, from 0 to 1; with one sample a pixel, 1 where its centre is covered.
        color: Linear radiance of the covered part (not multiplied by alpha).
        base_color: Linear RGB.
        normal: Unit world normals, towards the viewer, with the normal map.
        orm: Occlusion, roughness and metallic as the material has them, in [0, 1].
        depth: z along the camera's axis, world units.
    """

    mask: Bool[Tensor, "height width"]
    alpha: Float[Tensor, "height width"]
    color: Float[Tensor, "height width 3"]
    base_color: Float[Tensor, "height width 3"]
    normal: Float[Tensor, "height width 3"]
    orm: Float[Tensor, "height width 3"]
    depth: Float[Tensor, "height width"]


@dataclass(frozen=True, eq=False, kw_only=True)
class LitMesh:
    """A mesh ready to be rendered under a light, from any camera.

    Attributes:
        mesh: The asset's, with triangles small enough for light that is known at vertices.
        normals: Vertex normals; between those of the asset, interpolated and shorter.
        tangents: Tangents per corner likewise, w = sign of the bitangent; none without a normal map.
        visibility: What its vertices see.
        environment: The light.
        bounce: The light between its parts.
    """

    mesh: Mesh
    normals: Float[Tensor, "vertices 3"]
    tangents: Float[Tensor, "faces 3 4"] | None
    visibility: Visibility
    environment: Environment
    bounce: Bounce


def render(asset: Asset, scene: LitMesh, camera: Camera, rasterizer: Rasterizer, *, samples: int = 1) -> Picture:
    """Render an asset under a light, with its own shadows and one bounce.

    Textures are read with mip levels and wrap as the material says; normals bend by its normal map. Both sides of
    the surface are shown.

    Args:
        asset: With material.
        scene: What `light_mesh` made of the asset and the light.
        camera: One camera.
        rasterizer: The backend.
        samples: Samples along each side of a pixel. Two or more give smooth outlines, edges and highlights, at the
            square of the cost.

    Raises:
        ValueError: When the asset is blank.
    """
    if asset.material is None:
        raise ValueError("a blank asset cannot be rendered")
    fine = camera.resized(camera.width * samples, camera.height * samples)
    buffer = render_gbuffer(rasterizer, scene.mesh, scene.normals, fine, derivatives=True)
    mask = buffer.mask[0]
    points = surface_points(scene.mesh, buffer.face_id[0][mask], buffer.barycentrics[0][mask])
    wo = normalize(camera.camera_center.to(buffer.position) - buffer.position[0][mask], dim=-1)
    values = material_in_view(asset.material, buffer, rasterizer)
    base_color, orm = values[:, :3], values[:, 3:6]
    normal = points.blend(scene.normals)
    if scene.tangents is not None:
        tangent = torch.einsum("pc,pck->pk", points.weights, scene.tangents[buffer.face_id[0][mask]])
        mapped = mapped_normals(normal, tangent, values[:, 6:])
    else:
        mapped = normalize(normal, dim=-1)
    side = seen_from_behind(scene.mesh, points, wo)
    shown = mapped * side
    with torch.no_grad():
        light = shadowed_light(scene.environment, scene.visibility, points, scene.bounce)
        light = bent_light(light, normalize(normal, dim=-1), shown)
        if scene.tangents is not None:
            light = replace(light, surface_normal=normalize(normal, dim=-1) * side)
        color = _shaded(light, base_color=base_color, orm=orm, normal=visible_normals(shown, wo), wo=wo)

    def spread(covered: Float[Tensor, "points *channels"]) -> Float[Tensor, "height width *channels"]:
        full = torch.zeros(*mask.shape, *covered.shape[1:], device=covered.device)
        full[mask] = covered
        return full

    return _reduced(
        Picture(
            mask=mask,
            alpha=mask.float(),
            color=spread(color),
            base_color=spread(base_color),
            normal=spread(shown),
            orm=spread(orm),
            depth=buffer.depth[0],
        ),
        samples,
    )


def light_mesh(
    asset: Asset,
    environment: Environment,
    *,
    normals: Float[Tensor, "vertices 3"] | None = None,
    tangents: Float[Tensor, "faces 3 4"] | None = None,
) -> LitMesh:
    """Trace what the vertices see, and bounce the light once.

    Args:
        asset: With material.
        environment: The light.
        normals: Unit vertex normals; by default those of the triangles around.
        tangents: What its normal map belongs to; by default MikkTSpace's.

    Raises:
        ValueError: When the asset is blank.
    """
    if asset.material is None:
        raise ValueError("a blank asset cannot be lit")
    mesh, material = asset.mesh, asset.material
    if normals is None:
        normals = shading_normals(mesh)
    if material.normal is None:
        tangents = None
    elif tangents is None:
        tangents = mikktspace_tangents(mesh, normals)
    mesh, normals, tangents = tessellated(mesh, normals, tangents, longest=_longest_edge(mesh))
    visibility = trace_visibility(mesh.vertices, mesh.faces, normalize(normals, dim=-1))
    return LitMesh(
        mesh=mesh,
        normals=normals,
        tangents=tangents,
        visibility=visibility,
        environment=environment,
        bounce=bounce_light(environment, visibility, reflectance_at(material, vertex_uvs(mesh))),
    )


def relit(asset: Asset, scene: LitMesh, environment: Environment) -> LitMesh:
    """The same mesh under another light; nothing is traced again."""
    if asset.material is None:
        raise ValueError("a blank asset cannot be lit")
    reflectance = reflectance_at(asset.material, vertex_uvs(scene.mesh))
    return replace(scene, environment=environment, bounce=bounce_light(environment, scene.visibility, reflectance))


def _longest_edge(mesh: Mesh) -> float:
    """Edges that shadows need: 1/48 of the diagonal, longer where that would give more than some 100 000 triangles."""
    diagonal = float((mesh.vertices.amax(0) - mesh.vertices.amin(0)).norm())
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    area = float(torch.linalg.cross(b - a, c - a).norm(dim=1).sum()) / 2
    return max(diagonal / 48, (area / 10_000) ** 0.5)


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


def _shaded(
    light: ShadowedLight,
    *,
    base_color: Float[Tensor, "points 3"],
    orm: Float[Tensor, "points 3"],
    normal: Float[Tensor, "points 3"],
    wo: Float[Tensor, "points 3"],
) -> Float[Tensor, "points 3"]:
    """Radiance towards the camera, some points at a time: each needs some 500 bytes."""
    color = torch.empty_like(base_color)
    for start in range(0, len(color), _POINTS_AT_ONCE):
        some = slice(start, start + _POINTS_AT_ONCE)
        where = light.points
        part = replace(
            light,
            points=SurfacePoints(corners=where.corners[some], weights=where.weights[some]),
            irradiance=light.irradiance[some],
            blocked=light.blocked[some],
            surface_normal=None if light.surface_normal is None else light.surface_normal[some],
        )
        color[some] = shade(
            part,
            base_color=base_color[some],
            roughness=orm[some, 1],
            metallic=orm[some, 2],
            normal=normal[some],
            wo=wo[some],
        )
    return color


def _reduced(picture: Picture, factor: int) -> Picture:
    """The picture `factor` times smaller, by means over what is covered."""
    if factor == 1:
        return picture

    def sums(values: Float[Tensor, "rows columns *channels"]) -> Float[Tensor, "height width *channels"]:
        return values.unflatten(1, (-1, factor)).unflatten(0, (-1, factor)).sum((1, 3))

    covered = sums(picture.alpha)

    def means(values: Float[Tensor, "rows columns *channels"]) -> Float[Tensor, "height width *channels"]:
        total = sums(values)
        return total / covered.clamp_min(1).reshape(*covered.shape, *[1] * (total.ndim - 2))

    return Picture(
        mask=covered > 0,
        alpha=covered / factor**2,
        color=means(picture.color),
        base_color=means(picture.base_color),
        normal=normalize(sums(picture.normal), dim=-1),
        orm=means(picture.orm),
        depth=means(picture.depth),
    )
