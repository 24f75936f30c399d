"""The pixels that the appearance fit learns from: every view rasterised once, the surface stored per pixel."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pipeline.formats import images
from pipeline.formats.resample import resize
from pipeline.formats.views import read_view_image
from pipeline.raster.gbuffer import render_gbuffer
from pipeline.raster.rasterizer import GBuffer, Rasterizer
from pipeline.scene import Camera, Capture, Mesh, View
from pipeline.shading.visibility import SurfacePoints, surface_points

MIN_COS = 0.1  # flatter views of the surface are mostly outline
STILL = 1e-3  # entries of rotations that differ by less are one
SPARED_FROM = 24  # photos, of which one is set aside
FOOTPRINTS, NEAR = 1_000_000, 0.25  # pixels whose size on the surface is measured; the share that counts as near
EDGE_PX = 1.5  # pixels this close to the outline mix object and background


@dataclass(frozen=True, eq=False, kw_only=True)
class Pixels:
    """Surface points that photos show, in random-access arrays.

    Attributes:
        uv: Texture coordinates.
        normal: Unit world normals.
        wo: Unit directions to the camera.
        target: Linear photo values.
        light_index: Under which of the capture's lights each was photographed; none means that there is one.
        surface: The same points on the mesh, for shadows; none shades them in the open.
        distance: From the camera, world units; none where no light comes from there.
        view: Number of the photo that shows each; none where photos are not told apart.
        light_from_world: How the world stood in the light in each photo; none when it stood still.
        exposure: Known gains of the photos; none where all are exposed alike, for all that is known.
    """

    uv: Float[Tensor, "pixels 2"]
    normal: Float[Tensor, "pixels 3"]
    wo: Float[Tensor, "pixels 3"]
    target: Float[Tensor, "pixels 3"]
    surface: SurfacePoints | None = None
    light_index: Int[Tensor, "pixels"] | None = None
    distance: Float[Tensor, "pixels"] | None = None
    view: Int[Tensor, "pixels"] | None = None
    light_from_world: Float[Tensor, "views 3 3"] | None = None
    exposure: Float[Tensor, "views 3"] | None = None

    def __len__(self) -> int:
        """Number of pixels."""
        return len(self.uv)

    def positions(self, vertices: Float[Tensor, "vertices 3"]) -> Float[Tensor, "pixels 3"]:
        """Where on a mesh with these vertices, in the world, they lie."""
        if self.surface is None:
            raise ValueError("pixels without a surface")
        return self.surface.blend(vertices)

    def exposed(self, radiance: Float[Tensor, "pixels 3"]) -> Float[Tensor, "pixels 3"]:
        """What the photos make of radiance at these pixels, by their known exposures."""
        if self.exposure is None or self.view is None:
            return radiance
        return radiance * self.exposure.index_select(0, self.view.long())

    def batch(self, index: Tensor | slice) -> "Pixels":
        """The pixels at `index`."""
        surface = self.surface and SurfacePoints(
            corners=self.surface.corners[index], weights=self.surface.weights[index]
        )
        return Pixels(
            uv=self.uv[index],
            normal=self.normal[index],
            wo=self.wo[index],
            target=self.target[index],
            surface=surface,
            light_index=None if self.light_index is None else self.light_index[index],
            distance=None if self.distance is None else self.distance[index],
            view=None if self.view is None else self.view[index],
            light_from_world=self.light_from_world,
            exposure=self.exposure,
        )


def occurring(index: Int[Tensor, "pixels"]) -> Int[Tensor, "kinds"]:
    """The numbers that occur among small ones, rising; sooner than by sorting them."""
    return torch.bincount(index.int()).nonzero()[:, 0]


def spared_photo(pixels: Pixels) -> int | None:
    """The number of the photo to be set aside, that tells whether the fit explains what it does not see.

    Of few photos none is spared.
    """
    if pixels.view is None:
        return None
    views = occurring(pixels.view)
    return None if len(views) < SPARED_FROM else int(views[len(views) // 2])


def hold_out(pixels: Pixels, photo: int | None) -> tuple[Pixels, Pixels | None]:
    """The pixels without those of one photo, and these."""
    if photo is None or pixels.view is None:
        return pixels, None
    held = pixels.view == photo
    return pixels.batch(~held), pixels.batch(held)


def resolved_texture_px(pixels: Pixels, most: int) -> int:
    """Texels along an edge of maps that hold what the photos show: a texel is no larger than a pixel seen from near.

    Args:
        pixels: As collected, neighbours one after the other.
        most: The answer is no larger; a power of two if it is smaller.
    """
    step = (pixels.uv[1:] - pixels.uv[:-1]).norm(dim=-1)
    step = step[step > 0][:: max(1, len(step) // FOOTPRINTS)]
    if len(step) == 0:
        return most
    return min(most, 2 ** math.ceil(-math.log2(float(torch.quantile(step, NEAR)))))


def image_scale(capture: Capture, max_pixels: int) -> float:
    """By how much to shrink the photos so that the object's pixels over all views stay below `max_pixels`."""
    covered = 0.0
    for view in capture.views:
        if view.mask_path is not None:
            covered += float(images.read_mask(view.mask_path).sum())
    return min(1.0, (max_pixels / max(covered, 1.0)) ** 0.5)


@dataclass(frozen=True, eq=False, kw_only=True)
class PixelSource:
    """What pixels come from; a refinement of the cameras or of the mesh replaces one, and pixels are collected anew.

    Attributes:
        capture: The photos with their cameras.
        mesh: With texture coordinates.
        normals: Unit vertex normals, world frame.
        rasterizer: Draws the mesh.
        max_pixels: Photos are scaled down so that the object's pixels over all views stay below it.
    """

    capture: Capture
    mesh: Mesh
    normals: Float[Tensor, "vertices 3"]
    rasterizer: Rasterizer
    max_pixels: int

    def collect(self, progress: Callable[[float, str], None]) -> Pixels:
        """Rasterise every view and keep the pixels that show the object's surface well inside its outline."""
        capture = self.capture
        scale = image_scale(capture, self.max_pixels)
        parts: list[Pixels] = []
        for index, view in enumerate(capture.views):
            progress(index / len(capture.views), f"surface of {view.name}")
            parts.append(_view_pixels(view, scale, self.mesh, self.normals, self.rasterizer))
        device = parts[0].uv.device

        def spread(numbers: list[int]) -> Int[Tensor, "pixels"]:
            counts = torch.tensor([len(part) for part in parts])
            return torch.tensor(numbers, dtype=torch.int16).repeat_interleave(counts).to(device)

        surfaces = [part.surface for part in parts if part.surface is not None]
        return Pixels(
            uv=torch.cat([part.uv for part in parts]),
            normal=torch.cat([part.normal for part in parts]),
            wo=torch.cat([part.wo for part in parts]),
            target=torch.cat([part.target for part in parts]),
            surface=SurfacePoints(
                corners=torch.cat([s.corners for s in surfaces]), weights=torch.cat([s.weights for s in surfaces])
            ),
            light_index=spread([view.light_index for view in capture.views]),
            distance=torch.cat([part.distance for part in parts if part.distance is not None]),
            view=spread(list(range(len(capture.views)))),
            light_from_world=_turns(capture, device),
            exposure=_exposures(capture, device),
        )


def photographed(pixels: Pixels, capture: Capture, number: int) -> Pixels:
    """Pixels of one view with what is known of its photo: number, light and exposure."""
    view = pixels.uv.new_full((len(pixels),), number, dtype=torch.int16)
    return replace(
        pixels,
        view=view,
        light_index=torch.full_like(view, capture.views[number].light_index),
        exposure=_exposures(capture, pixels.uv.device),
    )


def _turns(capture: Capture, device: torch.device) -> Float[Tensor, "views 3 3"] | None:
    """How the world stood in the light in each photo; none when it stood still in all."""
    turns = torch.stack([view.light_from_world[:3, :3] for view in capture.views])
    still = bool((turns - torch.eye(3, dtype=turns.dtype)).abs().max() < STILL)
    return None if still else turns.float().to(device)


def _exposures(capture: Capture, device: torch.device) -> Float[Tensor, "views 3"] | None:
    """The known gains of the photos; none when all are 1."""
    gains = torch.stack([view.exposure for view in capture.views])
    return None if bool((gains == 1).all()) else gains.float().to(device)


def _view_pixels(view: View, scale: float, mesh: Mesh, normals: Tensor, rasterizer: Rasterizer) -> Pixels:
    camera = view.camera.scaled(scale)
    buffer = render_gbuffer(rasterizer, mesh, normals, camera)
    usable = inner(buffer.mask[0])
    if view.mask_path is not None:
        mask = resize(images.read_mask(view.mask_path).numpy(), camera.width, camera.height)
        usable &= inner(torch.from_numpy(mask).to(usable.device) > 0.99)
    pixels = pixels_of(buffer, usable, mesh, camera, read_view_image(view, camera.width, camera.height))
    return pixels.batch((pixels.normal * pixels.wo).sum(-1) > MIN_COS)


def pixels_of(
    buffer: GBuffer,
    where: Bool[Tensor, "height width"],
    mesh: Mesh,
    camera: Camera,
    photo: Float[Tensor, "height width 3"],
) -> Pixels:
    """The pixels of one camera's view at which `where` is true, all of them on the mesh, row by row."""
    position = buffer.position[0][where]
    points = surface_points(mesh, buffer.face_id[0][where], buffer.barycentrics[0][where])
    to_camera = camera.camera_center.to(position) - position
    distance = to_camera.norm(dim=-1)
    return Pixels(
        uv=buffer.uv[0][where],
        normal=buffer.normal[0][where],
        wo=to_camera / distance.clamp_min(1e-12)[..., None],
        target=photo.to(position.device)[where],
        surface=SurfacePoints(corners=points.corners.int(), weights=points.weights),
        distance=distance,
    )


def inner(mask: Bool[Tensor, "height width"]) -> Bool[Tensor, "height width"]:
    """The mask without the pixels at its border (one pixel in all eight directions)."""
    outside = (~mask).float()[None, None]
    return torch.nn.functional.max_pool2d(outside, 3, stride=1, padding=1)[0, 0] == 0
