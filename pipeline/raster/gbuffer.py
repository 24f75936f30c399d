"""The G-buffer of a mesh seen by pinhole cameras."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from pipeline.raster.rasterizer import GBuffer, Rasterizer
from pipeline.scene import Camera, Mesh


def depth_range(vertices: Float[Tensor, "vertices 3"], camera: Camera) -> tuple[float, float]:
    """Near and far distance along the axis, in world units, that enclose the vertices in front of all cameras.

    The near plane stays at least 1e-4 of the far one away from the cameras, so geometry closer than that,
    or behind, is cut off. A mesh that lies behind every camera gets an arbitrary range.
    """
    rows = camera.cam_from_world.detach().reshape(-1, 4, 4)[:, 2].double()
    depth = vertices.detach().double() @ rows[:, :3].mT + rows[:, 3]
    if not depth.numel() or not float(depth.max()) > 0:
        return 0.1, 1.0
    far = 1.01 * float(depth.max())
    return max(0.99 * float(depth.min()), 1e-4 * far), far


def clip_positions(
    vertices: Float[Tensor, "vertices 3"], camera: Camera, *, near: float, far: float
) -> Float[Tensor, "views vertices 4"]:
    """Homogeneous clip positions per view in the vertices' type; the product is taken in float64."""
    transform = camera.clip_from_world(near=near, far=far).reshape(-1, 4, 4).double()
    clip = vertices.double() @ transform[..., :3].mT + transform[:, None, :, 3]
    return clip.to(vertices.dtype)


def render_gbuffer(
    rasterizer: Rasterizer,
    mesh: Mesh,
    normals: Float[Tensor, "vertices 3"],
    camera: Camera,
    *,
    derivatives: bool = False,
) -> GBuffer:
    """What each pixel of each view sees of a mesh, world frame; a single camera gives one view.

    Differentiable in the vertices and normals where the rasteriser is. Empty pixels are zero, face_id -1.

    Args:
        rasterizer: The backend.
        mesh: The surface; without texture coordinates `uv` is zero.
        normals: Unit shading normals per vertex, outwards.
        camera: One camera or a batch of one image size.
        derivatives: Whether to tell how texture coordinates change from pixel to pixel.
    """
    near, far = depth_range(mesh.vertices, camera)
    clip = clip_positions(mesh.vertices, camera, near=near, far=far)
    raster = rasterizer.rasterize(clip, mesh.faces, size_px=(camera.width, camera.height), derivatives=derivatives)
    surface = rasterizer.interpolate(torch.cat([mesh.vertices, normals], 1), raster, mesh.faces)
    position, normal = surface[..., :3], normalize(surface[..., 3:], dim=-1)
    axis = camera.cam_from_world.reshape(-1, 4, 4)[:, None, None, 2].to(position.dtype)
    depth = (position * axis[..., :3]).sum(-1) + axis[..., 3]
    uv = uv_derivatives = None
    if mesh.uvs is not None and mesh.uv_faces is not None:
        uv = rasterizer.interpolate(mesh.uvs, raster, mesh.uv_faces)
        if derivatives:
            uv_derivatives = rasterizer.interpolate_derivatives(mesh.uvs, raster, mesh.uv_faces)
    return GBuffer(
        mask=raster.mask,
        position=position,
        normal=normal,
        uv=raster.rast.new_zeros(*raster.rast.shape[:3], 2) if uv is None else uv,
        barycentrics=raster.rast[..., :2],
        face_id=raster.face_id,
        depth=torch.where(raster.mask, depth, torch.zeros_like(depth)),
        uv_derivatives=uv_derivatives,
    )
