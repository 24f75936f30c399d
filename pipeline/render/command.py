"""Render an asset: the mesh, its shadows and the light are prepared once, then every camera is cheap."""

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from pipeline.config import RuntimeConfig
from pipeline.errors import InputError, ResourceError, UsageError
from pipeline.formats.gltf import read_gltf
from pipeline.formats.images import write_png
from pipeline.formats.video import Mp4Writer
from pipeline.progress import Reporter
from pipeline.render.lighting import LightChoice
from pipeline.render.limits import check_range
from pipeline.render.material_edits import MaterialEdits
from pipeline.render.pictures import Background, backdrop, finished, over_white, write_map
from pipeline.render.viewpoints import CameraFile, Turntable
from pipeline.runtime import make_runtime
from pipeline.scene import Asset, Camera
from pipeline.shading.render import Picture, light_mesh
from pipeline.shading.render import render as render_view
from pipeline.warmup import compile_kernels
from pipeline.workspace import lock

MAX_FPS = 24.0
MIN_TURN_S = 4.0
MAX_SAMPLES = 2**26  # of one picture; each needs some 200 bytes


@dataclass(frozen=True, kw_only=True)
class RenderRequest:
    """What the user asked for.

    Attributes:
        asset: A GLB file, or a .gltf file that holds its data itself.
        views: The cameras.
        out: Folder for the pictures.
        light: The light.
        edits: Changes to the material.
        background: What lies behind the asset.
        maps: Which maps are written beside each picture.
        exposure_ev: Exposure in stops: each doubles what is seen.
        samples: Samples along each side of a pixel.

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
    samples: int = 2

    def __post_init__(self) -> None:
        """Refuse impossible numbers and missing files."""
        check_range("--exposure", self.exposure_ev, -20, 20)
        check_range("--samples", self.samples, 1, 8)
        if not self.asset.exists():
            raise UsageError("does not exist", path=self.asset, remedy="name an asset's .glb or .gltf file")

    @property
    def exposure(self) -> float:
        """The factor that the stops stand for."""
        return 2.0**self.exposure_ev


def render(request: RenderRequest, reporter: Reporter) -> None:
    """Write a picture for every camera, `NAME.png`, with the maps behind it, and a video of a turntable.

    Raises:
        ReconError: Of the kind that says what stopped it.
    """
    views = request.views
    read = read_gltf(request.asset)
    asset = _edited(read.asset, request)
    cameras = views.cameras(asset.mesh.vertices) if isinstance(views, Turntable) else views.cameras()
    _check_sizes(cameras, request.samples)
    light = request.light.load(request.asset)
    reporter.line(f"light       {light.told}")
    with lock(request.out):
        rasterizer = make_runtime(RuntimeConfig()).rasterizer
        compile_kernels(reporter.line)
        with reporter.task("render") as progress:
            progress(0.0, "shadows")
            scene = light_mesh(asset, light.environment, normals=read.normals, tangents=read.tangents)
            start = time.monotonic()
            for index, (name, camera) in enumerate(cameras.items()):
                progress(index / len(cameras), name)
                picture = render_view(asset, scene, camera, rasterizer, samples=request.samples)
                background = backdrop(request.background, light.map, camera, request.exposure)
                _write(name, picture, background, request)
        each_s = (time.monotonic() - start) / len(cameras)
        reporter.line(f"pictures    {len(cameras)} in {request.out}, {each_s:.2f} s each")
        if isinstance(views, Turntable) and len(cameras) > 1:
            _write_video([request.out / f"{name}.png" for name in cameras], request.out, reporter)


def _check_sizes(cameras: Mapping[str, Camera], samples: int) -> None:
    """Refuse pictures that would not fit into memory."""
    for name, camera in cameras.items():
        count = camera.width * camera.height * samples**2
        if count > MAX_SAMPLES:
            raise UsageError(
                f"{name} has {camera.width} x {camera.height} pixels of {samples} x {samples} samples, "
                f"{count / 1e6:.0f} million in all, limit {MAX_SAMPLES / 1e6:.0f}",
                remedy="make pictures or --samples smaller",
            )


def _edited(asset: Asset, request: RenderRequest) -> Asset:
    if asset.material is None:
        raise InputError("has no material", path=request.asset)
    return dataclasses.replace(asset, material=request.edits.applied(asset.material))


def _write(
    name: str, picture: Picture, background: Float[Tensor, "height width 3"] | None, request: RenderRequest
) -> None:
    """Write a picture and the maps that were asked for."""
    write_png(request.out / f"{name}.png", finished(picture, background, request.exposure))
    for kind in request.maps:
        write_map(kind, picture, request.out, name)


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
