"""Pictures of an appearance fit while it works, from the first views of the finished preview."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from pipeline.formats.views import read_view_image
from pipeline.preview import MARGIN, PreviewRow, draw_preview, spread_views
from pipeline.raster.gbuffer import render_gbuffer
from pipeline.scene import Camera, Mesh, View
from pipeline.shading.normal_mapping import seen_from_behind
from pipeline.stages.appearance_fit import AppearanceFit
from pipeline.stages.appearance_pixels import Pixels, PixelSource, photographed, pixels_of

VIEWS, TILE_PX = 2, 240
SAMPLES = 1.2  # along each side of a tile's pixel
LARGEST_PX = 2048  # longest side of the raster, of which a small object fills a part


@dataclass(frozen=True, eq=False, kw_only=True)
class _Shown:
    """A view of the mesh at the size of a tile: its photo and the surface at each pixel of the mask."""

    view: View
    camera: Camera
    photo: Float[Tensor, "height width 3"]
    mask: Bool[Tensor, "height width"]
    pixels: Pixels


class LivePreview:
    """Draws a fit as it is; the surface is rasterised once.

    Args:
        source: The photos and the surface.
    """

    def __init__(self, source: PixelSource) -> None:
        self._shown = []
        views, mesh = source.capture.views, source.mesh
        for view in spread_views(views, VIEWS):
            camera = view.camera.scaled(_scale(view.camera, mesh))
            buffer = render_gbuffer(source.rasterizer, mesh, source.normals, camera)
            photo = read_view_image(view, camera.width, camera.height)
            pixels = pixels_of(buffer, buffer.mask[0], mesh, camera, photo)
            if pixels.surface is not None:
                pixels = replace(pixels, normal=pixels.normal * seen_from_behind(mesh, pixels.surface, pixels.wo))
            pixels = photographed(pixels, source.capture, views.index(view))
            shown = _Shown(view=view, camera=camera, photo=photo, mask=buffer.mask[0].cpu(), pixels=pixels)
            self._shown.append(shown)

    def draw(self, fit: AppearanceFit) -> UInt8[np.ndarray, "height width 3"]:
        """The picture, 8-bit sRGB; the fit stays as it is."""
        rows = [_row(shown, fit) for shown in self._shown]
        return draw_preview(rows, tile_px=TILE_PX, caption=f"step {fit.step} of {fit.config.steps}")


def _scale(camera: Camera, mesh: Mesh) -> float:
    """By how much to scale the photo so that the object fills a tile as the preview cuts it out."""
    at, depth = camera.project(mesh.vertices)
    inside = at[depth > 0].clamp(at.new_zeros(2), at.new_tensor([camera.width, camera.height]))
    extent = float((inside.amax(0) - inside.amin(0)).max()) if len(inside) else 0.0
    fitting = SAMPLES * TILE_PX / max((1 + 2 * MARGIN) * extent, 1.0)
    return min(1.0, fitting, LARGEST_PX / max(camera.width, camera.height))


def _row(shown: _Shown, fit: AppearanceFit) -> PreviewRow:
    look = fit.look(shown.pixels)

    def spread(values: Float[Tensor, "pixels channels"]) -> Float[Tensor, "height width channels"]:
        full = torch.zeros(*shown.mask.shape, values.shape[1])
        full[shown.mask] = values.cpu()
        return full

    values, environment = spread(look.values), look.environment
    return PreviewRow(
        photo=shown.photo,
        mask=shown.mask,
        color=spread(look.color) * shown.view.exposure,
        base_color=values[..., :3],
        normal=spread(look.normal),
        roughness=values[..., 3],
        metallic=values[..., 4],
        camera=shown.camera,
        light=replace(environment, coefficients=environment.coefficients.detach().cpu()),
        light_from_world=shown.view.light_from_world[:3, :3],
    )
