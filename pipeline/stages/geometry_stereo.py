"""Stereo for the geometry stage: what the photos show inside of the hull, where they agree on it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.ndimage import uniform_filter
from torch import Tensor

from pipeline.color import srgb_from_linear
from pipeline.config import GeometryConfig
from pipeline.formats import images
from pipeline.formats.resample import resize
from pipeline.formats.views import read_view_image
from pipeline.geometry.depth_fusion import agreement, fuse_depths, hull_of_depths
from pipeline.geometry.normals import vertex_normals
from pipeline.geometry.stereo_depth import DepthMap, StereoView, match_view
from pipeline.geometry.tet_grid import TetGrid
from pipeline.raster.gbuffer import render_gbuffer
from pipeline.raster.rasterizer import Rasterizer
from pipeline.scene import Capture, Mesh, View
from pipeline.workspace import StageContext

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
INSIDE = 0.9  # coverage of a pixel that shows the object alone
LEAST_ANGLE, BEST_ANGLE, MOST_ANGLE = 8.0, 20.0, 50.0  # degrees between the rays of two photos that are compared
REACH = 0.5  # how deep inside of the hull a surface is looked for, of the box' diagonal
SWEEPS_ANYWHERE = 3  # times as many passes where the search does not start near the surface
COUNTED_PX = 256  # long side of the pictures in which pixels of a hull are counted
EPSILON = 1e-9
SURE, POSSIBLE = 0.2, 0.5  # cost of a match, 1 - correlation, up to which it counts by itself; and at all
CHECKED, AGREEING = 10, 3  # of the nearest photos so many are asked, and so many must show the same depth
TOLERANCE, TRUNCATION = 0.5, 2.0  # cells: how close depths must be; how far from them the surface's distance is told
NEAR_LOW, NEAR_HIGH = 0.4, 0.7  # share of a neighbourhood with sure matches that agree: from nothing to all is believed
NEAR = 0.2  # side of that neighbourhood, of the object's extent in the photo
SCARCE = 0.5  # share of the object in a photo with believed depths, below which possible matches are asked, too
PHOTO_LOW, PHOTO_HIGH = 0.5, 0.75  # share of a whole photo with possible matches that agree, likewise
SPREAD, TRUST = 2.0, 0.7  # see `fuse_depths`: more would leave the hull's ridges on flat faces


def carve_hollows(  # noqa: PLR0913  # one per input
    capture: Capture,
    grid: TetGrid,
    hull: Float[Tensor, "nx ny nz"],
    mesh: Mesh,
    *,
    anywhere: bool = False,
    config: GeometryConfig,
    context: StageContext,
    progress: Callable[[float, str], None],
) -> Float[Tensor, "nx ny nz"]:
    """The hull's signed distance, pushed in to the surface that the photos agree on.

    Mirrors and gloss show depths that few photos share, and that correlate by chance. So a depth counts only where
    sure matches agree on most of its neighbourhood; elsewhere the hull stays. Relief that glitters correlates badly
    everywhere, and yet its photos agree nearly everywhere on depths, which chance does not: in a photo with few sure
    matches, most of which agrees with others, weak ones count as well (a gold cape: 79 % of it instead of 13 %).

    Args:
        capture: Photos with masks.
        grid: The points of `hull`.
        hull: Signed distance to the hull, world units, negative inside.
        mesh: The hull's surface.
        anywhere: Whether the hull is but the object's box, in which the surface may lie at any depth. The result is
            coarse then: a hull to start from again.
        config: How large the photos are compared, with how many others, in how many passes.
        context: Takes `stereo_share`, the share of the object's pixels whose depth is believed.
        progress: Told the share done and a note.
    """
    rasterizer = context.runtime.rasterizer
    scale = min(1.0, (config.stereo_px / _covered(capture, mesh, rasterizer)) ** 0.5)
    views = _stereo_views(capture, mesh, grid.spacing, scale, rasterizer)
    if anywhere:
        views = [_from_front_to_back(view, capture.object_box) for view in views]
        config = replace(config, stereo_sweeps=SWEEPS_ANYWHERE * config.stereo_sweeps)
    angle = _angles(capture)
    compared = _compared(capture, angle, config.stereo_compared)
    maps = _matched(views, compared, config, context.runtime.threads, progress, anywhere=anywhere)
    depths, weights = _believed(views, maps, angle, TOLERANCE * grid.spacing)
    shown = sum(float((v.near > 0).sum()) for v in views)
    context.metrics["stereo_share"] = sum(float((w > 0).sum()) for w in weights) / max(1.0, shown)
    cameras = [v.camera for v in views]
    if anywhere:
        found = hull_of_depths(grid, cameras, depths)
        return hull if found is None else torch.maximum(hull, found)
    return fuse_depths(
        grid,
        hull,
        cameras,
        depths,
        weights,
        truncation=TRUNCATION * grid.spacing,
        spread=SPREAD,
        trust=TRUST,
    )


def _covered(capture: Capture, mesh: Mesh, rasterizer: Rasterizer) -> float:
    """Pixels of a photo that the object covers, on average: by the masks, or by the hull if they show no outline."""
    paths = [view.mask_path for view in capture.views if view.mask_path is not None]
    if capture.outlined and paths:
        covered = [float(images.read_mask(path).numpy().sum()) for path in paths]
    else:
        normals = vertex_normals(mesh.vertices, mesh.faces)
        covered = []
        for view in capture.views:
            scale = min(1.0, COUNTED_PX / max(view.camera.width, view.camera.height))
            buffer = render_gbuffer(rasterizer, mesh, normals, view.camera.scaled(scale))
            covered.append(float(buffer.mask.sum()) / scale**2)
    return max(1.0, float(np.mean(covered)))


def _stereo_views(
    capture: Capture, mesh: Mesh, margin: float, scale: float, rasterizer: Rasterizer
) -> list[StereoView]:
    """The photos at the size at which they are compared; the hull may be off by `margin`."""
    normals = vertex_normals(mesh.vertices, mesh.faces)
    reach = REACH * float((capture.object_box[1] - capture.object_box[0]).norm())

    def stereo_view(view: View) -> StereoView:
        camera = view.camera.scaled(scale)
        buffer = render_gbuffer(rasterizer, mesh, normals, camera)
        shown: Bool[np.ndarray, "_ _"] = buffer.mask[0].cpu().numpy()
        if view.mask_path is not None:  # read again: all masks of large photos together need gigabytes
            shown = shown & (resize(images.read_mask(view.mask_path).numpy(), camera.width, camera.height) > INSIDE)
        near = np.where(shown, buffer.depth[0].cpu().numpy() - margin, 0).astype(np.float32)
        camera_from_world = camera.cam_from_world[:3, :3].to(buffer.normal)
        srgb = srgb_from_linear(read_view_image(view, camera.width, camera.height)).numpy()
        return StereoView(
            camera=camera,
            luma=np.ascontiguousarray(srgb @ LUMA),
            near=near,
            far=np.where(shown, near + reach, 0).astype(np.float32),
            normal=np.ascontiguousarray((buffer.normal[0] @ camera_from_world.mT).cpu().numpy()),
        )

    return [stereo_view(view) for view in capture.views]


def _from_front_to_back(view: StereoView, box: Float[Tensor, "2 3"]) -> StereoView:
    """The view with all of the box to search, for a surface that looks anywhere."""
    rows, columns = np.indices(view.near.shape) + 0.5
    towards = np.stack([columns, rows, np.ones_like(rows)], 2) @ np.linalg.inv(view.camera.K.numpy()).T
    ray = towards @ view.camera.cam_from_world[:3, :3].numpy()
    ray = np.where(np.abs(ray) < EPSILON, EPSILON, ray)
    ends = (box.double().numpy()[:, None, None] - view.camera.camera_center.numpy()) / ray
    far = np.where(view.near > 0, np.maximum(ends.max(0).min(-1), view.near), 0)
    facing = -towards / np.linalg.norm(towards, axis=2, keepdims=True)
    return replace(view, far=far.astype(np.float32), normal=np.ascontiguousarray(facing, np.float32))


def _angles(capture: Capture) -> Float[np.ndarray, "views views"]:
    """Degrees between the directions from the middle of the object to the cameras."""
    centers = torch.stack([v.camera.camera_center for v in capture.views]) - capture.object_box.mean(0)
    directions = torch.nn.functional.normalize(centers, dim=1)
    return torch.rad2deg(torch.acos((directions @ directions.mT).clamp(-1, 1))).numpy()


def _compared(capture: Capture, angle: Float[np.ndarray, "views views"], count: int) -> list[list[int]]:
    """For each photo those under the same light that see the object from about `BEST_ANGLE` aside."""
    light = np.array([view.light_index for view in capture.views])
    fit = (light[:, None] == light) & (angle >= LEAST_ANGLE) & (angle <= MOST_ANGLE) & ~np.eye(len(light), dtype=bool)
    nearest = np.argsort(np.abs(angle - BEST_ANGLE), axis=1, kind="stable")
    return [[int(k) for k in order if fit[own, k]][:count] for own, order in enumerate(nearest)]


def _matched(
    views: list[StereoView],
    compared: list[list[int]],
    config: GeometryConfig,
    threads: int,
    progress: Callable[[float, str], None],
    *,
    anywhere: bool,
) -> list[DepthMap]:
    """The depth maps of all photos, a photo for each thread at a time."""

    def match(own: int) -> DepthMap:
        return match_view(
            views[own], [views[k] for k in compared[own]], sweeps=config.stereo_sweeps, seed=own, anywhere=anywhere
        )

    maps: list[DepthMap] = []
    with ThreadPoolExecutor(threads) as pool:
        for result in pool.map(match, range(len(views))):
            progress(len(maps) / len(views), f"depth of photo {len(maps) + 1} of {len(views)}")
            maps.append(result)
    return maps


def _believed(
    views: list[StereoView], maps: list[DepthMap], angle: Float[np.ndarray, "views views"], close: float
) -> tuple[list[Float[np.ndarray, "_ _"]], list[Float[np.ndarray, "_ _"]]]:
    """The depths that count, 0 elsewhere, and by how much, in [0, 1]."""
    sure, possible = ([np.where(m.cost < c, m.depth, 0).astype(np.float32) for m in maps] for c in (SURE, POSSIBLE))
    weights = []
    for k, view in enumerate(views):
        weight = _where_near_agrees(_agreeing(views, sure, angle, k, close), view)
        if _share(weight, view) < SCARCE:
            weight = np.maximum(weight, _where_photo_agrees(_agreeing(views, possible, angle, k, close), view))
        weights.append(weight)
    return [np.where(w > 0, d, 0).astype(np.float32) for w, d in zip(weights, possible, strict=True)], weights


def _where_near_agrees(
    agreeing: Float[np.ndarray, "height width"], view: StereoView
) -> Float[np.ndarray, "height width"]:
    """`_agreeing`, the less the smaller a share of a pixel's neighbourhood it holds for."""
    shown = view.near > 0
    side = 2 * round(0.5 * NEAR * float(shown.sum()) ** 0.5) + 1
    around = uniform_filter((agreeing > 0).astype(np.float32), side, mode="constant")
    around /= uniform_filter(shown.astype(np.float32), side, mode="constant").clip(1e-6)
    return np.clip((around - NEAR_LOW) / (NEAR_HIGH - NEAR_LOW), 0, 1) * agreeing


def _where_photo_agrees(
    agreeing: Float[np.ndarray, "height width"], view: StereoView
) -> Float[np.ndarray, "height width"]:
    """Likewise, by its share of the whole photo."""
    return agreeing * np.float32(np.clip((_share(agreeing, view) - PHOTO_LOW) / (PHOTO_HIGH - PHOTO_LOW), 0, 1))


def _share(weight: Float[np.ndarray, "height width"], view: StereoView) -> float:
    """Share of the object's pixels that have a weight."""
    return float((weight > 0).sum()) / max(1.0, float((view.near > 0).sum()))


def _agreeing(
    views: list[StereoView],
    depths: list[Float[np.ndarray, "_ _"]],
    angle: Float[np.ndarray, "views views"],
    view: int,
    close: float,
) -> Float[np.ndarray, "height width"]:
    """The share of the nearest photos that show a pixel's depth, up to `close` world units; 0 where they are few."""
    nearest = [k for k in np.argsort(angle[view], kind="stable") if k != view][:CHECKED]
    count = agreement(
        views[view].camera, depths[view], [views[k].camera for k in nearest], [depths[k] for k in nearest], close
    )
    count[(count < AGREEING) | (views[view].near <= 0)] = 0
    return np.minimum(count, CHECKED) / CHECKED
