"""Geometry: the visual hull of the masks, hollowed by stereo, as a closed mesh; a joint fit; or the user's own mesh."""

from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.config import GeometryConfig
from pipeline.errors import CaptureError, UsageError
from pipeline.formats.meshes import MeshFile
from pipeline.formats.tensors import load_asset, save_asset
from pipeline.formats.views import read_view_mask
from pipeline.geometry import mesh_ops
from pipeline.geometry.decimate import decimate
from pipeline.geometry.flexicubes import FlexiCubes
from pipeline.geometry.marching_tetrahedra import marching_tetrahedra
from pipeline.geometry.normals import filtered_normals
from pipeline.geometry.outline import mask_distance
from pipeline.geometry.tet_grid import TetGrid, grid_in_box
from pipeline.geometry.visual_hull import BAND, hull_sdf
from pipeline.outlines import OutlineFit, outline_of
from pipeline.scene import Asset, Capture, Mesh
from pipeline.stages.geometry_dmtet import refine_distances
from pipeline.stages.geometry_given import place_given
from pipeline.stages.geometry_joint import fit_joint
from pipeline.stages.geometry_stereo import carve_hollows
from pipeline.workspace import Stage, StageContext

PASSES_IN_BOX = 2  # of stereo, where no mask shows an outline: one finds the object, one its surface
MASK_PX_PER_CELL = 6  # masks finer than this against a grid cell add nothing to the hull
OUTLINE_PX_PER_CELL = 3  # likewise where outlines are rendered: a blended pixel tells a tenth of its width


def shape(capture: Capture, given: MeshFile | None, config: GeometryConfig, context: StageContext) -> Mesh:
    """The mesh that the user brought, or else the one that masks and photos tell."""
    if given is not None:
        return place_given(capture, given, config.max_faces, context)
    if config.method == "joint":
        return fit_joint(capture, config, context)
    return carve(capture, config, context)


def carve(capture: Capture, config: GeometryConfig, context: StageContext) -> Mesh:
    """Carve the hull out of the object box, hollow it, drop specks and cavities, and decimate to the budget.

    Raises:
        UsageError: When distances are to move by photos whose masks show no outline.
        CaptureError: When nothing is left inside all masks.
    """
    if config.dmtet_steps > 0 and not capture.outlined:
        raise UsageError("geometry.dmtet_steps needs masks with outlines", remedy="set it to 0, or give --masks")
    cameras, distances = [], []
    for index, view in enumerate(capture.views):
        context.progress(0.1 * index / len(capture.views), "distances to the outlines")
        camera, mask = read_view_mask(view, long_side_px=MASK_PX_PER_CELL * config.grid_resolution)
        cameras.append(camera)
        distances.append(mask_distance(mask))
    grid = grid_in_box(capture.object_box, resolution=config.grid_resolution)
    context.progress(0.1, f"carving {grid.shape[0]} x {grid.shape[1]} x {grid.shape[2]} points")
    dissent = capture.mask_dissent if config.dissent is None else config.dissent
    hull = _closed(hull_sdf(grid, cameras, distances, dissent=dissent, band=BAND * grid.spacing), grid.spacing)
    if not bool((hull < 0).any()):
        raise CaptureError(
            f"no point lies inside all {len(cameras)} masks", remedy="raise geometry.dissent, or check the masks"
        )
    context.progress(0.2, "extracting the surface")
    sdf, (vertices, faces, dropped) = hull, _surface(hull, grid, config)
    span = 0.55 if config.dmtet_steps == 0 else 0.3  # of the progress, that stereo takes
    passes = 0 if not config.stereo else 1 if capture.outlined else PASSES_IN_BOX
    for index in range(passes):
        sdf = carve_hollows(
            capture,
            grid,
            sdf,
            Mesh(vertices=vertices.float(), faces=faces),
            anywhere=index == 0 and not capture.outlined,
            config=config,
            context=context,
            progress=partial(_part_progress, context, 0.3 + span * index / passes, span / passes),
        )
        vertices, faces, dropped = _surface(_closed(sdf, grid.spacing), grid, config)
    if config.dmtet_steps > 0:
        progress = partial(_part_progress, context, 0.3 + span, 0.55 - span)
        sdf = refine_distances(capture, grid, sdf, hull, config, context, progress)
        vertices, faces, dropped = _surface(_closed(sdf, grid.spacing), grid, config)
    context.progress(0.85, "simplifying the surface")
    full = len(faces)
    vertices, faces = decimate(vertices, faces, max_faces=config.max_faces)
    vertices, faces = mesh_ops.drop_unused(vertices, faces)
    if capture.outlined and config.outline_steps > 0:
        vertices = _outlined(vertices, faces, capture, config, context)
    context.metrics.update(
        faces=len(faces),
        faces_before_decimation=full,
        parts_dropped=dropped,
        open_edges=mesh_ops.open_edges(faces),
        volume=mesh_ops.signed_volume(vertices, faces),
    )
    vertices = vertices.float()
    return Mesh(vertices=vertices, faces=faces, normals=filtered_normals(vertices, faces, reach=grid.spacing))


def _part_progress(context: StageContext, done: float, span: float, part: float, note: str) -> None:
    """Tell of a part of the stage that begins when a share is done and takes so much more."""
    context.progress(done + span * part, note)


def _outlined(
    vertices: Float[Tensor, "vertices 3"],
    faces: Int[Tensor, "faces 3"],
    capture: Capture,
    config: GeometryConfig,
    context: StageContext,
) -> Float[Tensor, "vertices 3"]:
    """Vertices moved to where the mesh has the outlines of the masks."""
    side, runtime = OUTLINE_PX_PER_CELL * config.grid_resolution, context.runtime
    outlines = [outline_of(*read_view_mask(view, long_side_px=side), runtime.device) for view in capture.views]
    fit = OutlineFit(vertices, faces, outlines, runtime.rasterizer)
    moved = fit.run(
        config.outline_steps, runtime.seed, lambda part: context.progress(0.87 + 0.12 * part, "fitting the outlines")
    )
    context.metrics.update(outline_error_before=fit.error(vertices), outline_error=fit.error(moved))
    return moved


def _surface(
    sdf: Float[Tensor, "nx ny nz"], grid: TetGrid, config: GeometryConfig
) -> tuple[Float[Tensor, "vertices 3"], Int[Tensor, "faces 3"], int]:
    """Vertices and faces without specks and cavities, and how many of these were dropped."""
    if config.surface == "flexicubes":
        positions = grid.positions(torch.arange(sdf.numel()))
        vertices, faces, _ = FlexiCubes(grid, sdf.device)(positions, sdf.reshape(-1).to(positions.dtype))
    else:
        vertices, faces = marching_tetrahedra(sdf, grid)
    return mesh_ops.keep_solid_parts(vertices, faces, min_share=config.min_component)


def _closed(sdf: torch.Tensor, spacing: float) -> torch.Tensor:
    """Keep the surface off the grid's border, so that it closes."""
    for axis in range(3):
        for end in (0, -1):
            sdf.select(axis, end).clamp_(min=0.01 * spacing)
    return sdf


def _save(mesh: Mesh, folder: Path) -> None:
    save_asset(Asset(mesh=mesh), folder / "mesh.safetensors")
    (folder / "checkpoint.safetensors").unlink(missing_ok=True)


def _load(folder: Path) -> Mesh:
    return load_asset(folder / "mesh.safetensors").mesh


def _summary(mesh: Mesh) -> str:
    return f"{len(mesh.faces)} triangles"


STAGE = Stage(name="geometry", version=9, compute=shape, save=_save, load=_load, summary=_summary)
