"""Export: the files that a user takes away, in glTF's frame with the origin at the asset's bottom centre."""

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.config import ExportConfig
from pipeline.errors import InputError
from pipeline.formats import gltf, images, transforms_json
from pipeline.formats.radiance import write_hdr
from pipeline.formats.views import read_view_image
from pipeline.geometry.normals import shading_normals
from pipeline.geometry.tangents import mikktspace_tangents
from pipeline.preview import PreviewRow, draw_preview, spread_views, srgb_bytes
from pipeline.scene import Asset, Camera, Capture, Environment, View
from pipeline.shading.light_maps import equirect
from pipeline.shading.light_rotation import rotated
from pipeline.shading.render import LitMesh, Picture, light_mesh, relit, render
from pipeline.workspace import PREVIEW, Stage, StageContext, write_json

RENDER_PX = 2048  # longest side of the renders: a picture of 24 megapixels would need 8 GiB of maps
FILES = ("asset.glb", "cameras.json", "light.hdr", PREVIEW)
TILE_PX = 320


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A folder with the exported files."""

    folder: Path


def export(capture: Capture, asset: Asset, config: ExportConfig, context: StageContext) -> Exported:
    """Place the asset and write GLB, cameras, light, renders of a few views and a preview.

    Raises:
        InputError: When the asset is blank.
    """
    if asset.material is None or asset.environment is None:
        raise InputError("the asset has no material or no light")
    if asset.cam_from_world is not None:
        capture = capture.posed(asset.cam_from_world)
    capture = capture.exposed(torch.ones(len(capture.views), 3) if asset.exposure is None else asset.exposure)
    placed_from_world = placement(asset, capture.metres_per_unit, capture.metres_per_asset_unit)
    mesh = dataclasses.replace(asset.mesh, vertices=_transform(asset.mesh.vertices, placed_from_world))
    placed = dataclasses.replace(asset, mesh=mesh)
    views = tuple(dataclasses.replace(v, camera=v.camera.moved(placed_from_world)) for v in capture.views)
    normals = shading_normals(mesh)
    tangents = mikktspace_tangents(mesh, normals) if asset.material.normal is not None else None
    scene = light_mesh(placed, asset.environment, normals=normals, tangents=tangents)
    folder = context.folder
    context.progress(0.0, "asset.glb")
    image_format: Literal["png", "jpeg"] = "jpeg" if config.image_format == "jpeg" else "png"
    gltf.write_glb(placed, normals, folder / "asset.glb", image_format=image_format, tangents=tangents)
    transforms_json.write_cameras(folder / "cameras.json", {v.name: v.camera for v in views})
    write_hdr(folder / "light.hdr", equirect(asset.environment, config.light_height_px))
    (folder / "render").mkdir(exist_ok=True)
    rows = []
    shown = spread_views(views, config.preview_views)
    for index, view in enumerate(shown):
        context.progress(0.2 + 0.8 * index / len(shown), f"preview of {view.name}")
        camera = view.camera.scaled(min(1.0, RENDER_PX / max(view.camera.width, view.camera.height)))
        picture = render(placed, _as_turned(placed, scene, view), camera, context.runtime.rasterizer)
        picture = dataclasses.replace(picture, color=picture.color * view.exposure)
        _write_render(picture, folder / "render" / f"{Path(view.name).stem}.png")
        rows.append(_row(view, camera, picture, asset.environment))
    images.write_png(folder / PREVIEW, draw_preview(rows, tile_px=TILE_PX))
    write_json(
        folder / "placement.json",
        {
            "asset_from_world": placed_from_world.tolist(),
            "asset_from_input": (placed_from_world @ capture.world_from_input).tolist(),
            "scale": "metres" if capture.scale_from else "unknown: the longest side is set to 1",
        },
    )
    return Exported(folder=folder)


def placement(
    asset: Asset, metres_per_unit: float | None, metres_per_asset_unit: float | None = None
) -> Float[Tensor, "4 4"]:
    """The similarity that puts the bottom centre at the origin, in metres; of unknown scale, to a longest side of 1.

    Args:
        asset: What is placed.
        metres_per_unit: Of the world, or none when unknown.
        metres_per_asset_unit: Metres for each unit of the result as it would be without this number.
    """
    low, high = (asset.mesh.vertices.double().amin(0), asset.mesh.vertices.double().amax(0))
    scale = (metres_per_unit or 1.0 / float((high - low).max())) * (metres_per_asset_unit or 1.0)
    bottom = torch.stack([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2])
    result = torch.eye(4, dtype=torch.float64)
    result[:3, :3] *= scale
    result[:3, 3] = -scale * bottom
    return result


def _as_turned(asset: Asset, scene: LitMesh, view: View) -> LitMesh:
    """The scene as it was lit for a photo: on a turntable the light, told as it fell on the first, had turned since."""
    world_from_light = view.light_from_world[:3, :3].mT
    if torch.allclose(world_from_light, torch.eye(3, dtype=world_from_light.dtype), atol=1e-3):
        return scene
    return relit(asset, scene, rotated(scene.environment, world_from_light))


def publish(exported: Exported, root: Path) -> None:
    """Put the exported files into the run's folder itself, each whole or not at all."""
    for name in FILES:
        temporary = root / f".{name}.tmp"
        shutil.copyfile(exported.folder / name, temporary)
        temporary.replace(root / name)


def _transform(points: Float[Tensor, "points 3"], matrix: Float[Tensor, "4 4"]) -> Float[Tensor, "points 3"]:
    return (points.double() @ matrix[:3, :3].mT + matrix[:3, 3]).to(points.dtype)


def _row(view: View, camera: Camera, picture: Picture, light: Environment) -> PreviewRow:
    return PreviewRow(
        photo=read_view_image(view, camera.width, camera.height),
        mask=picture.mask,
        color=picture.color,
        base_color=picture.base_color,
        normal=picture.normal,
        roughness=picture.orm[..., 1],
        metallic=picture.orm[..., 2],
        camera=camera,
        light=light,
        light_from_world=view.light_from_world[:3, :3],
    )


def _write_render(picture: Picture, path: Path) -> None:
    alpha = (picture.alpha[..., None] * 255).round().byte()
    images.write_png(path, torch.cat([torch.from_numpy(srgb_bytes(picture.color)), alpha], -1).numpy())


def _load(folder: Path) -> Exported:
    return Exported(folder=folder)


def _save(exported: Exported, folder: Path) -> None:
    """Nothing is left to write: `export` wrote the files themselves."""


def _summary(exported: Exported) -> str:
    size = (exported.folder / "asset.glb").stat().st_size / 2**20
    return f"asset.glb of {size:.1f} MiB, cameras, light, preview"


STAGE = Stage(name="export", version=6, compute=export, save=_save, load=_load, summary=_summary)
