"""Appearance: base colour, roughness, metallic and light from the photos, on a finished mesh."""

import dataclasses
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.config import AppearanceConfig
from pipeline.errors import CaptureError
from pipeline.formats.tensors import load_asset, save_asset
from pipeline.geometry import mesh_ops
from pipeline.geometry.normals import shading_normals
from pipeline.raster.rasterizer import Rasterizer
from pipeline.scene import Asset, Capture, Environment, Material, Mesh
from pipeline.shading.texture_pyramid import TexturePyramid
from pipeline.shading.visibility import coarse_light
from pipeline.stages.appearance_exposure import told_exposures_hold
from pipeline.stages.appearance_fill import fill_unseen, seen_weight, texel_surface
from pipeline.stages.appearance_fit import AppearanceFit
from pipeline.stages.appearance_light import shadows_of
from pipeline.stages.appearance_pixels import Pixels, PixelSource, hold_out, resolved_texture_px, spared_photo
from pipeline.stages.appearance_preview import LivePreview
from pipeline.stages.appearance_refine import SourceRefinement
from pipeline.stages.appearance_start import Start, choose_start
from pipeline.workspace import Stage, StageContext

MIN_PIXELS = 1000
FAR_DEG, FAR_PCT = 0.5, 2.0  # of the camera that moved most: turn, and way as a share of the object's diagonal
METAL_LIGHT = 0.2  # of the light's smoothness, under which a metal is: a gold head gains .2 to .5 dB in new light
SEEN = 0.5  # photo pixels that a texel needs to count as seen


def fit_appearance(capture: Capture, blank: Asset, config: AppearanceConfig, context: StageContext) -> Asset:
    """Fit material and light; texels that no photo shows take the nearest surface's values.

    Raises:
        CaptureError: When the mesh and the masks have next to no pixels in common.
    """
    mesh, seed = blank.mesh, context.runtime.seed
    source = PixelSource(
        capture=capture,
        mesh=mesh,
        normals=shading_normals(mesh),
        rasterizer=context.runtime.rasterizer,
        max_pixels=config.max_pixels,
    )
    pixels = source.collect(lambda part, note: context.progress(0.15 * part, note))
    if len(pixels) < MIN_PIXELS:
        raise CaptureError(f"{len(pixels)} pixels show the object, {MIN_PIXELS} needed", remedy="check the masks")
    context.progress(0.15, "tracing shadows")
    shadows = shadows_of(mesh) if config.shadows else None
    source, pixels = _as_exposed(source, pixels, config)
    texture_px = resolved_texture_px(pixels, config.texture_px)
    figures, spared = {"pixels": float(len(pixels))}, spared_photo(pixels)
    pixels, held_out = hold_out(pixels, spared)
    context.progress(0.15, "metal or not, sharp or soft light")
    start = choose_start(pixels, config, shadows, seed)
    config = settled(config, start)
    fit = AppearanceFit(pixels, config, texture_px=texture_px, seed=seed, shadows=shadows, metal=start.metal)
    fit.held_out = held_out
    del pixels, held_out  # the fit has its own, in another order
    if start.lights:
        fit.begin_under(start.lights, metal_in_places=start.metal_in_places)

    def told(part: float, note: str) -> None:
        context.progress(0.15 + 0.8 * fit.step / config.steps, note)

    refinement = SourceRefinement(source, spared, config, seed=seed, progress=told)
    preview = LivePreview(source)
    loss = fit.run(
        context.folder / "checkpoint.safetensors",
        lambda part, note: context.progress(0.15 + 0.8 * part, note),
        refinement=refinement,
        show=lambda: context.show(preview.draw(fit)),
    )
    context.progress(0.95, "filling unseen texels")
    material, unseen_share = _material(fit, refinement.source)
    figures |= {"loss": loss, "unseen_share": unseen_share} | start.figures | _figures(fit)
    figures |= _told_drift(refinement, context)
    context.metrics.update(figures)
    environment = fit.environment
    return dataclasses.replace(
        blank,
        mesh=refinement.source.mesh,
        material=material,
        environment=Environment(coefficients=environment.coefficients.detach().cpu(), basis=environment.basis),
        cam_from_world=refinement.cam_from_world,
        exposure=fit.exposure.gains([view.exposure for view in source.capture.views]),
        provenance=figures,
    )


def settled(config: AppearanceConfig, start: Start) -> AppearanceConfig:
    """The settings that a fit's start leaves: the kind of its light, which a metal, as it shows it all, may roughen."""
    smoothness = config.light_smoothness * (METAL_LIGHT if start.metal and not config.flash else 1.0)
    return dataclasses.replace(config, light=start.light, light_smoothness=smoothness)


def _material(fit: AppearanceFit, source: PixelSource) -> tuple[Material, float]:
    """The maps of a finished fit on the mesh that it ended with, and the share of the charts that no photo shows."""
    mesh, normals, rasterizer = source.mesh, source.normals, source.rasterizer
    seen = seen_weight(torch.cat([own.uv for own in fit.under]), fit.maps.size)
    ambient = (fit.shadows or shadows_of(mesh)).visibility.ambient
    maps, unseen_share = _whole_maps(fit.maps, mesh, ambient, seen, rasterizer)
    bent = fit.normals.tangent_map(mesh, normals, seen > SEEN, rasterizer) if fit.config.normal_map else None
    material = Material(
        base_color=maps[..., :3].contiguous(),
        orm=maps[..., [5, 3, 4]],
        normal=bent,
        confidence=(seen / (seen + 4)).clamp(0, 1),
        double_sided=mesh_ops.has_border(mesh.vertices, mesh.faces),
    )
    return material, unseen_share


def _as_exposed(source: PixelSource, pixels: Pixels, config: AppearanceConfig) -> tuple[PixelSource, Pixels]:
    """The photos with their exposures where these are borne out by what they show, and as exposed alike where not."""
    if pixels.exposure is None or (config.exposure != "off" and told_exposures_hold(pixels)):
        return source, pixels
    alike = source.capture.exposed(torch.ones(len(source.capture.views), 3))
    return dataclasses.replace(source, capture=alike), dataclasses.replace(pixels, exposure=None)


def _figures(fit: AppearanceFit) -> dict[str, float]:
    """What a finished fit tells about itself, by name."""
    figures = {"photo_psnr": fit.photo_psnr(), "exposure_drift_ev": fit.exposure.drift_ev}
    if fit.held_out is not None:
        figures["held_out_psnr"] = fit.held_out_psnr(fit.held_out)
    flash = fit.lights[0].flash
    if flash is not None:
        figures["flash_over_light"] = float(torch.exp(flash).mean() / coarse_light(fit.environment).mean())
    return figures


def _told_drift(refinement: SourceRefinement, context: StageContext) -> dict[str, float]:
    """How far the cameras were moved, with a warning when that is far."""
    if refinement.cam_from_world is None:
        return {}
    drift = refinement.drift()
    if drift.max_deg > FAR_DEG or drift.max_pct > FAR_PCT:
        context.warn(
            f"cameras were moved by up to {drift.max_deg:.2f} degrees and {drift.max_pct:.1f} % of the object's size "
            f"({drift.median_px:.1f} pixels in the median) to fit the photos; the mesh was made with the poses as they "
            "came, better ones would make it better"
        )
    return {f"pose_drift_{name}": value for name, value in dataclasses.asdict(drift).items()}


def _whole_maps(
    maps: TexturePyramid,
    mesh: Mesh,
    ambient: Float[Tensor, "vertices"],
    seen: Float[Tensor, "size size"],
    rasterizer: Rasterizer,
) -> tuple[Float[Tensor, "size size 6"], float]:
    """Base colour, roughness, metallic and occlusion, unseen texels filled, and the share of the charts they are."""
    in_chart, surface = texel_surface(mesh, torch.cat([mesh.vertices, ambient[:, None]], 1), len(seen), rasterizer)
    fitted = torch.cat([maps.bake().cpu(), surface[..., 3:]], -1)
    unseen = in_chart & (seen <= SEEN)
    return fill_unseen(fitted, seen > SEEN, in_chart, surface[..., :3]), float(
        unseen.sum() / in_chart.sum().clamp_min(1)
    )


def _save(asset: Asset, folder: Path) -> None:
    save_asset(asset, folder / "asset.safetensors")
    (folder / "checkpoint.safetensors").unlink(missing_ok=True)


def _load(folder: Path) -> Asset:
    return load_asset(folder / "asset.safetensors")


def _summary(asset: Asset) -> str:
    size = 0 if asset.material is None else asset.material.base_color.shape[0]
    spared = asset.provenance.get("held_out_psnr")
    told = "" if spared is None else f", {spared:.1f} dB against one that was held out"
    light = "soft light" if asset.environment is not None and asset.environment.basis == "sh" else "sharp light"
    return f"maps {size} x {size}, {light}, {asset.provenance['photo_psnr']:.1f} dB against the photos{told}"


STAGE = Stage(name="appearance", version=21, compute=fit_appearance, save=_save, load=_load, summary=_summary)
