"""Render an asset: the mesh, its shadows and the light are prepared once, then every camera is cheap."""

import dataclasses
import time
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.config import RuntimeConfig
from pipeline.errors import ResourceError, UsageError
from pipeline.formats.gltf import read_glb
from pipeline.formats.images import write_png
from pipeline.formats.video import Mp4Writer
from pipeline.progress import Reporter
from pipeline.raster.cpu import compile_kernels
from pipeline.render.lighting import LightChoice
from pipeline.render.limits import check_range
from pipeline.render.material_edits import MaterialEdits
from pipeline.render.pictures import Background, backdrop, finished, over_white, write_map
from pipeline.render.viewpoints import CameraFile, Turntable
from pipeline.runtime import make_runtime
from pipeline.scene import Asset
from pipeline.shading.render import light_mesh
from pipeline.shading.render import render as render_view
from pipeline.workspace import lock

MAX_FPS = 24.0
MIN_TURN_S = 4.0


@dataclass(frozen=True, kw_only=True)
class RenderRequest:
    """What the user asked for.

    Attributes:
        asset: A GLB file.
        views: The cameras.
        out: Folder for the pictures.
        light: The light.
        edits: Changes to the material.
        background: What lies behind the asset.
        maps: Which maps are written beside each picture.
        exposure_ev: Exposure in stops: each doubles what is seen.

    Raises:
        UsageError: When a value is outside its range or the asset does not exist.
    """

    asset: Path
    views: CameraFile | Turntable
    out: Path
    light: LightChoice = field(default_factory=LightChoice)
    edits: MaterialEdits = field(default_factory=MaterialEdits)
    background: Background = "white"
    maps: tuple[str, ...] = ()
    exposure_ev: float = 0.0

    def __post_init__(self) -> None:
        """Refuse impossible numbers and missing files."""
        check_range("--exposure", self.exposure_ev, -20, 20)
        if not self.asset.exists():
            raise UsageError("does not exist", path=self.asset, remedy="name an asset's GLB file")


def render(request: RenderRequest, reporter: Reporter) -> None:
    """Write a picture for every camera, `NAME.png`, with the maps behind it, and a video of a turntable.

    Raises:
        ReconError: Of the kind that says what stopped it.
    """
    views = request.views
    if isinstance(views, CameraFile):
        cameras = views.cameras()
        if request.out.resolve() in views.photo_folders():
            raise UsageError("is the folder of the photos", path=request.out, remedy="choose another with --out")
        asset = _read(request)
    else:
        asset = _read(request)
        cameras = views.cameras(asset.mesh.vertices)
    light = request.light.load(request.asset)
    reporter.line(f"light       {light.told}")
    exposure = 2.0**request.exposure_ev
    with lock(request.out):
        rasterizer = make_runtime(RuntimeConfig()).rasterizer
        compile_kernels(reporter.line)
        with reporter.task("render") as progress:
            progress(0.0, "shadows")
            scene = light_mesh(asset, light.environment)
            start = time.monotonic()
            for index, (name, camera) in enumerate(cameras.items()):
                progress(index / len(cameras), name)
                picture = render_view(asset, scene, camera, rasterizer)
                behind = backdrop(request.background, light.map, camera, exposure)
                write_png(request.out / f"{name}.png", finished(picture, behind, exposure))
                for kind in request.maps:
                    write_map(kind, picture, request.out, name)
        each_s = (time.monotonic() - start) / len(cameras)
        if isinstance(views, Turntable):
            _write_video([request.out / f"{name}.png" for name in cameras], request.out, reporter)
    reporter.line(f"pictures    {len(cameras)} in {request.out}, {each_s:.2f} s each")


def _read(request: RenderRequest) -> Asset:
    asset, _ = read_glb(request.asset)
    if asset.material is None:
        raise UsageError("has no material", path=request.asset)
    return dataclasses.replace(asset, material=request.edits.applied(asset.material))


def _write_video(pictures: list[Path], folder: Path, reporter: Reporter) -> None:
    """One turn as a video, slow enough to be looked at; when that fails, the pictures are still there."""
    fps = min(MAX_FPS, max(1.0, len(pictures) / MIN_TURN_S))
    try:
        with Mp4Writer(folder / "turntable.mp4", fps=fps) as video:
            for picture in pictures:
                video.add(over_white(picture))
    except ResourceError as error:
        reporter.warn(f"no video: {error}")
    else:
        reporter.line(f"video       {folder / 'turntable.mp4'}")
