"""A whole run: one line per stage."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline import config as configuration
from pipeline.config import RunConfig
from pipeline.discovery import Inputs, Source, discover
from pipeline.errors import UsageError
from pipeline.formats.meshes import MeshFile, read_mesh
from pipeline.geometry.flexicubes import kaolins_class
from pipeline.memory import plan, survey
from pipeline.passes import with_masks
from pipeline.progress import Reporter
from pipeline.runtime import make_runtime, versions
from pipeline.stages import appearance, export, geometry, ingest, masks, poses, unwrap, world
from pipeline.stages.masks_edited import with_edited_masks
from pipeline.warmup import compile_kernels
from pipeline.workspace import Staged, Workspace, lock, write_json


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """Where a run left its files."""

    asset: Path
    preview: Path
    seconds: float


def run(config: RunConfig, *, inputs: Inputs, out: Path, reporter: Reporter) -> RunResult:
    """Turn the photos of `inputs` into an asset in `out`; stages whose inputs did not change are re-used.

    Raises:
        ReconError: Of the kind that says what stopped the run.
    """
    start = time.monotonic()
    model = masks.find_model(inputs.mask_model, config.masks)
    source = discover(inputs)
    given = _given_mesh(config, source)
    if config.geometry.surface == "flexicubes" and given.value is None:
        kaolins_class()  # or refuse here, before any work
    if out.resolve() in {folder.resolve() for folder in (*inputs.images, *(p.path.parent for p in source.photos))}:
        raise UsageError("is the folder of the photos", path=out, remedy="choose another folder with --out")
    load = survey(source, config, vertices=0 if given.value is None else len(given.value.mesh.vertices))
    planned = plan(config, load)
    config = planned.config
    reporter.line(planned.line)
    with lock(out):
        runtime = make_runtime(config.runtime)
        if runtime.note:
            reporter.line(runtime.note)
        if source.other_poses:
            others = ", ".join(path.name for path in source.other_poses[:4])
            reporter.line(f"poses are read from {source.poses_path}, not from {others}; --poses chooses")
        workspace = Workspace(root=out, runtime=runtime, reporter=reporter)
        configuration.save(config, out / "config.yaml")

        found = Staged(value=source, key=source.key())
        photos = workspace.stage(ingest.STAGE, config.ingest, found)
        if runtime.rasterizer.name == "cpu":
            compile_kernels(reporter.line)  # not before the photos proved usable
        segmenter = Staged(value=model, key=model.sha256 if model else "")
        photos = with_masks(photos, segmenter, config, workspace)
        posed = workspace.stage(poses.STAGE, config.poses, photos)
        settled = workspace.stage(world.STAGE, config.world, posed)
        settled = with_edited_masks(settled, out)
        capture = workspace.stage(masks.STAGE, config.masks, settled, segmenter)
        mesh = workspace.stage(geometry.STAGE, config.geometry, capture, given)
        blank = workspace.stage(unwrap.STAGE, config.unwrap, mesh)
        kept = replace(config.appearance, vertex_steps=0)  # somebody's mesh stays as it is
        asset = workspace.stage(appearance.STAGE, kept if config.geometry.mesh else config.appearance, capture, blank)
        exported = workspace.stage(export.STAGE, config.export, capture, asset)

        export.publish(exported.value, out)
        seconds = time.monotonic() - start
        write_json(
            out / "run.json",
            {
                "images": str(source.folder),
                "wall_s": round(seconds, 2),
                "peak_rss_mib": max(r["peak_rss_mib"] for r in workspace.records),
                "rasterizer": runtime.rasterizer.name,
                "versions": versions(),
                "stages": workspace.records,
            },
        )
    return RunResult(asset=out / "asset.glb", preview=out / "preview.png", seconds=seconds)


def _given_mesh(config: RunConfig, source: Source) -> Staged[MeshFile | None]:
    """The mesh that the user brought, read before anything is computed, or none.

    Raises:
        UsageError: When no poses came along, in whose frame it could lie, or there is no such file.
        InputError: When the file is damaged or holds no triangles.
    """
    if not config.geometry.mesh:
        return Staged(value=None, key="")
    path = Path(config.geometry.mesh).expanduser()
    if source.poses_path is None:
        raise UsageError(
            "geometry.mesh lies in the frame of given poses, and none came along",
            path=path,
            remedy="name the poses that belong to the mesh with --poses",
        )
    given = read_mesh(path)
    return Staged(value=given, key=given.sha256)
