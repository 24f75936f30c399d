"""A mesh that the user brought, in place of the hull: put into the settled world and held against the masks."""

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from pipeline.errors import InputError, UsageError
from pipeline.formats.meshes import MeshFile
from pipeline.formats.views import read_view_mask
from pipeline.frames import z_up_from_y_up
from pipeline.geometry import mesh_ops
from pipeline.geometry.normals import vertex_normals
from pipeline.raster.gbuffer import render_gbuffer
from pipeline.raster.rasterizer import Rasterizer
from pipeline.scene import Camera, Capture, Mesh
from pipeline.workspace import StageContext

LOOKED_AT, LONG_SIDE_PX = 16, 192  # views in which outlines are compared, and their size
LEAST_IOU, USUAL_IOU = 0.1, 0.8  # of the mesh's outlines with the masks: less is another place, or another object
TURN_GAIN = 0.05  # of IoU, that turning the file must bring
MOSTLY = 0.9  # share of what the photos show that should face them


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Fit:
    """How a mesh looks in the views: IoU with the masks, share of its pixels that face the camera, and how many."""

    iou: float
    facing: float
    pixels: int


def place_given(capture: Capture, given: MeshFile, max_faces: int, context: StageContext) -> Mesh:
    """Move the mesh of a file from the frame of the given poses into the world; its surface stays as it is.

    Exporters of programs whose worlds have +Z up turn GLB and OBJ files to +Y up. Where the file fits the masks better
    when that is undone, it is undone, and the user told.

    Raises:
        UsageError: When the poses were solved, so that their frame is none that the user knows.
        InputError: When the views do not see the mesh where their masks show the object.
    """
    if not capture.poses_given:
        raise UsageError(
            "geometry.mesh lies in the frame of given poses, but these were solved from the photos",
            path=given.path,
            remedy="name the poses that belong to the mesh with --poses",
        )
    looks = _looks(capture)
    as_written = _moved(given.mesh, capture.world_from_input)
    turned = _moved(given.mesh, capture.world_from_input @ z_up_from_y_up())
    mesh, fit = as_written, _fit(as_written, looks, context.runtime.rasterizer)
    if fit.iou < USUAL_IOU:
        other = _fit(turned, looks, context.runtime.rasterizer)
        if other.iou > fit.iou + TURN_GAIN:
            context.warn(
                f"{given.path.name} fits the masks to {fit.iou:.2f} (IoU), and to {other.iou:.2f} when turned "
                "from +Y up to +Z up: it is turned"
            )
            mesh, fit = turned, other
    _refuse_elsewhere(mesh, fit, capture, given)
    if fit.facing < 0.5:
        context.warn(f"{1 - fit.facing:.0%} of the surface faces away from the cameras: its triangles are turned round")
        mesh, fit = _turned_round(mesh), dataclasses.replace(fit, facing=1 - fit.facing)
    _tell(given, fit, max_faces, context)
    welded = torch.unique(mesh.vertices, dim=0, return_inverse=True)[1]
    context.metrics.update(
        faces=len(mesh.faces),
        degenerate_dropped=given.degenerate,
        open_edges=mesh_ops.open_edges(welded[mesh.faces]),
        mask_iou=fit.iou,
        facing=fit.facing,
    )
    return mesh


def _tell(given: MeshFile, fit: _Fit, max_faces: int, context: StageContext) -> None:
    """Warn about what the user may not know of the file."""
    name, count = given.path.name, len(given.mesh.faces)
    if given.degenerate:
        context.warn(f"{name}: {given.degenerate} triangles without an area are left out")
    if count > max_faces:
        context.warn(f"{name} has {count} triangles, over geometry.max_faces={max_faces}: all are kept")
    if fit.iou < USUAL_IOU:
        context.warn(f"the outlines of {name} fit the masks to {fit.iou:.2f} (IoU), {USUAL_IOU} is usual")
    if fit.facing < MOSTLY:
        context.warn(
            f"{1 - fit.facing:.0%} of what the photos show of {name} faces away from them and takes no colour: turn "
            "its triangles, or give thin parts two sides"
        )


def _refuse_elsewhere(mesh: Mesh, fit: _Fit, capture: Capture, given: MeshFile) -> None:
    if fit.pixels and fit.iou >= LEAST_IOU:
        return
    seen = f"fits the masks to {fit.iou:.2f} (IoU), {LEAST_IOU} is the least" if fit.pixels else "is seen by no photo"
    input_from_world = torch.linalg.inv(capture.world_from_input)
    box = torch.stack([mesh.vertices.amin(0), mesh.vertices.amax(0)]).double()
    where, wanted = (_middle_and_size(corners, input_from_world) for corners in (box, capture.object_box))
    raise InputError(
        f"{seen}: its middle is at {where}, and that of the object in the photos at {wanted}",
        path=given.path,
        remedy="export it in the frame and the unit of the poses",
    )


def _middle_and_size(box: Float[Tensor, "2 3"], input_from_world: Float[Tensor, "4 4"]) -> str:
    """A box in words, in the frame of the poses."""
    middle = input_from_world[:3, :3] @ box.mean(0) + input_from_world[:3, 3]
    diagonal = float((box[1] - box[0]).norm() * torch.linalg.det(input_from_world[:3, :3]) ** (1 / 3))
    return f"({', '.join(f'{x:.4g}' for x in middle.tolist())}) with a diagonal of {diagonal:.4g}"


def _moved(mesh: Mesh, new_from_old: Float[Tensor, "4 4"]) -> Mesh:
    vertices = mesh.vertices.double() @ new_from_old[:3, :3].mT + new_from_old[:3, 3]
    return dataclasses.replace(mesh, vertices=vertices.float())


def _turned_round(mesh: Mesh) -> Mesh:
    """The same triangles, seen from their other side."""
    order = [0, 2, 1]
    uv_faces = None if mesh.uv_faces is None else mesh.uv_faces[:, order]
    return dataclasses.replace(mesh, faces=mesh.faces[:, order], uv_faces=uv_faces)


def _looks(capture: Capture) -> list[tuple[Camera, Tensor]]:
    """Small masks of views spread over the capture, with their cameras."""
    views = [view for view in capture.views if view.mask_path is not None]
    views = views[:: -(-len(views) // LOOKED_AT)]
    found = [read_view_mask(view, long_side_px=LONG_SIDE_PX) for view in views]
    return [(camera, torch.as_tensor(mask) > 0.5) for camera, mask in found]


def _fit(mesh: Mesh, looks: list[tuple[Camera, Tensor]], rasterizer: Rasterizer) -> _Fit:
    normals = vertex_normals(mesh.vertices, mesh.faces)
    overlaps, facing, pixels = [], 0, 0
    for camera, mask in looks:
        buffer = render_gbuffer(rasterizer, mesh, normals, camera)
        shown = buffer.mask[0].cpu()
        position = buffer.position[0].cpu()
        wo = normalize(camera.camera_center.to(position) - position, dim=-1)
        facing += int(((buffer.normal[0].cpu() * wo).sum(-1)[shown] > 0).sum())
        pixels += int(shown.sum())
        overlaps.append(float((shown & mask).sum()) / max(1, int((shown | mask).sum())))
    return _Fit(iou=sum(overlaps) / max(1, len(overlaps)), facing=facing / max(1, pixels), pixels=pixels)
