"""Where a step of the geometry stage goes: marching tetrahedra to Adam, forward and backward, piece by piece.

    .venv/bin/python scripts/bench_step.py                       # 4 views of 128 px, then 1 of 512 px
    .venv/bin/python scripts/bench_step.py --threads 2 --eager   # with the shading in eager torch, to compare

A bumpy sphere's signed distances on a Kuhn grid are moved against pictures of another one: extract the mesh, find
normals and topology, rasterise, interpolate, shade under prefiltered octahedral light, antialias, compare, and back.
Milliseconds are medians; a backward piece is the time between the gradients of its output and of its input.
"""

import argparse
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import pipeline  # noqa: F401, I001  # sets the threads' waiting policy before torch is imported
import torch
from torch import Tensor
from torch.nn.functional import normalize

from pipeline.geometry.marching_tetrahedra import marching_tetrahedra
from pipeline.geometry.normals import vertex_normals
from pipeline.geometry.tet_grid import grid_in_box
from pipeline.raster.cpu import CpuRasterizer
from pipeline.raster.gbuffer import clip_positions
from pipeline.scene import Camera, Environment
from pipeline.shading.prefilter import prefilter
from pipeline.shading.shade import shade, shade_eager

MATERIAL = 5  # base colour, roughness, metallic at the grid's points' stead: at the vertices


class Laps:
    """Times of named pieces."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = defaultdict(list)
        self._last = time.perf_counter()

    def start(self) -> None:
        """Begin a piece."""
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """End a piece and begin the next."""
        now = time.perf_counter()
        self.times[name].append(now - self._last)
        self._last = now

    def on_gradient(self, tensor: Tensor, name: str) -> None:
        """End a piece when the gradient of a tensor is there."""
        tensor.register_hook(lambda _: self.lap(name))


def main() -> None:
    """Time the steps that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid", type=int, default=65, help="points along an edge of the grid")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--eager", action="store_true", help="shade by eager torch in place of the fused kernel")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for views, size_px in ((4, 128), (1, 512)):
        laps, faces = time_steps(arguments, views, size_px)
        middle = {name: 1000 * statistics.median(times[2:]) for name, times in laps.times.items()}
        print(
            f"\n{faces} triangles, {views} x {size_px} px, {arguments.threads} thread(s): {sum(middle.values()):.0f} ms"
        )
        for name, value in middle.items():
            print(f"  {name:<34}{value:7.1f}  {100 * value / sum(middle.values()):4.0f} %")


def ring(views: int, size_px: int) -> Camera:
    """Cameras around the object, 4 units away."""
    poses = []
    for k in range(views):
        angle = torch.tensor(2 * torch.pi * (k + 0.3) / views, dtype=torch.float64)
        back = torch.stack([angle.sin() * 0.9, torch.tensor(0.4358898944, dtype=torch.float64), angle.cos() * 0.9])
        right = normalize(torch.linalg.cross(torch.tensor([0.0, 1, 0], dtype=torch.float64), back), dim=0)
        pose = torch.eye(4, dtype=torch.float64)
        pose[:3, :3] = torch.stack([right, -torch.linalg.cross(back, right), -back])
        pose[2, 3] = 4
        poses.append(pose)
    K = torch.tensor([[1.6 * size_px, 0, size_px / 2], [0, 1.6 * size_px, size_px / 2], [0, 0, 1]], dtype=torch.float64)
    return Camera(K=K.expand(views, 3, 3), cam_from_world=torch.stack(poses), width=size_px, height=size_px)


def time_steps(arguments: argparse.Namespace, views: int, size_px: int) -> tuple[Laps, int]:
    """Take steps, noting their pieces; returns them and the number of triangles."""
    grid = grid_in_box(torch.tensor([[-1.3] * 3, [1.3] * 3]), resolution=arguments.grid)
    where = grid.positions(torch.arange(arguments.grid**3)).reshape(*grid.shape, 3)
    bumps = 0.05 * torch.sin(7 * where).prod(-1)
    sdf = (where.norm(dim=-1) - 1 + bumps).requires_grad_()
    camera, laps = ring(views, size_px), Laps()
    light = torch.rand(64 * 64, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    optimizer = torch.optim.Adam([sdf, light], lr=1e-4, fused=True)
    shading = shade_eager if arguments.eager else shade_by_name
    target, faces = torch.rand(views, size_px, size_px, 4), 0
    for _ in range(arguments.steps):
        optimizer.zero_grad()
        image, faces = forward(sdf, light, (camera, grid), laps, shading)
        loss = (image - target).abs().mean()
        laps.lap("loss")
        loss.backward()
        laps.lap("marching tetrahedra, backward")
        optimizer.step()
        laps.lap("Adam")
    return laps, faces


def shade_by_name(light: object, *inputs: Tensor) -> Tensor:
    """`shade`, called like `shade_eager`."""
    names = ("base_color", "roughness", "metallic", "normal", "wo")
    return shade(light, **dict(zip(names, inputs, strict=True)))


def forward(
    sdf: Tensor, coefficients: Tensor, scene: tuple[Camera, object], laps: Laps, shading: Callable[..., Tensor]
) -> tuple[Tensor, int]:
    """One picture per view, antialiased, with coverage as the fourth channel."""
    (camera, grid), rasterizer = scene, CpuRasterizer()
    laps.start()
    vertices, faces = marching_tetrahedra(sdf, grid)
    laps.lap("marching tetrahedra")
    topology = rasterizer.topology(faces)
    laps.lap("topology")
    normals = vertex_normals(vertices, faces)
    laps.lap("normals")
    filtered = prefilter(Environment(coefficients=coefficients, basis="octahedral"))
    laps.lap("prefilter light")
    clip = clip_positions(vertices, camera, near=2, far=6)
    raster = rasterizer.rasterize(clip, faces, size_px=(camera.width, camera.height))
    laps.lap("rasterise")
    material = torch.sigmoid(vertices @ torch.ones(3, MATERIAL))
    surface = rasterizer.interpolate(torch.cat([vertices, normals, material], 1), raster, faces)
    laps.lap("interpolate")
    shown = surface[raster.mask]
    view = raster.mask.nonzero()[:, 0]
    wo = normalize(camera.camera_center.float()[view] - shown[:, :3], dim=-1)
    normal = normalize(shown[:, 3:6], dim=-1)
    laps.lap("gather covered pixels")
    color = shading(filtered, shown[:, 6:9], shown[:, 9], shown[:, 10], normal, wo)
    laps.lap("shade")
    image = torch.cat([color, torch.ones(len(color), 1)], 1)
    image = image.new_zeros(*raster.mask.shape, 4).index_put((raster.mask,), image)
    laps.lap("scatter")
    smooth = rasterizer.antialias(image, raster, clip, faces, topology=topology)
    laps.lap("antialias")
    laps.on_gradient(smooth, "loss, backward")
    laps.on_gradient(image, "antialias, backward")
    laps.on_gradient(color, "scatter, backward")
    laps.on_gradient(shown, "shade and gather, backward")
    laps.on_gradient(surface, "gather, backward")
    laps.on_gradient(vertices, "raster, normals, backward")
    return smooth, len(faces)


if __name__ == "__main__":
    main()
