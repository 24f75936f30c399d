"""The geometry of nvdiffrec: shape, material and light fitted at once, from a random start, to the photos.

Munkberg et al. 2022, "Extracting Triangular 3D Models, Materials, and Lighting From Images": its first pass, as the
baseline that this project is measured against. Each number names the file of github.com/NVlabs/nvdiffrec that it is
from; docs/nvdiffrec.md lists what stands in for what. Shares are of the original's 5000 steps, so that a shorter run
goes through the same schedule.
"""

import math
from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import grid_sample

from pipeline.config import GeometryConfig
from pipeline.errors import CaptureError, UsageError
from pipeline.formats.tensors import load_checkpoint, save_checkpoint
from pipeline.geometry import mesh_ops
from pipeline.geometry.decimate import decimate
from pipeline.geometry.flexicubes import WEIGHTS, FlexiCubes
from pipeline.geometry.marching_tetrahedra import crossed_edges
from pipeline.geometry.tet_grid import grid_in_box
from pipeline.losses import sign_loss
from pipeline.raster.gbuffer import clip_positions, depth_range
from pipeline.runtime import Runtime
from pipeline.scene import Camera, Capture, Environment, Mesh
from pipeline.shading.prefilter import prefilter
from pipeline.stages.geometry_joint_photos import Photos, read_photos
from pipeline.stages.geometry_surface import Crossing, between, drawn, image_loss
from pipeline.workspace import StageContext

START_INSIDE = 0.1  # dmtet.py: values from -0.1 to 0.9, so that one point of ten is inside
MAX_SHIFT = 1 / 2.1  # of a cell. dmtet.py: 2 / (grid_res * 2) tanh(deform), with cells of mesh_scale 2.1 / grid_res
START_LIGHT = 0.5  # train.py, create_trainable_env_rnd: scale 0, bias 0.5
LIGHT_PX = 64  # octahedral; the original's cube map has 512 along an edge
RATE_SHAPE, RATE_MATERIAL = 0.03, 0.01  # configs/nerf_*.json and nerd_*.json, learning_rate; the light has the latter
LAST_RATE = 0.1  # train.py, lr_schedule: 10 ** (-0.0002 step), of the first rate after 5000 steps
SIGN_WEIGHT, LAST_SIGN_WEIGHT, SIGN_UNTIL = 0.2, 0.01, 0.25  # train.py, sdf_regularizer; dmtet.py, tick
SMOOTH_WEIGHT, SMOOTH_FROM = 0.03, 0.1  # dmtet.py, tick: kd_grad, rising over the first 500 steps
SMOOTH_DISTANCE = 0.01 * 64 / 2.1  # cells. render.py: texture positions jitter by 0.01, with the cells above
WHITE_WEIGHT = 0.005  # dmtet.py, tick: the light's regularizer
DEVIATION_WEIGHT, OFF_CENTER_WEIGHT = 0.5, 0.1  # FlexiCubes' examples/optimize.py, of vertices and weights of cubes
CHECKPOINT_STEPS = 50
FITTED = ("sdf", "shift", "material", "light", "weights")


def fit_joint(capture: Capture, config: GeometryConfig, context: StageContext) -> Mesh:
    """Fit shape, material and light at once, and keep the shape.

    Raises:
        UsageError: When the photos were taken under several lights.
        CaptureError: When the surface vanishes.
    """
    lights = len({view.light_index for view in capture.views})
    if lights > 1:
        raise UsageError(
            f"geometry.method=joint fits 1 light, not {lights}", remedy="geometry.method=hull, or one --images"
        )
    photos = read_photos(
        capture,
        size_px=config.joint_px,
        device=context.runtime.device,
        progress=lambda part, note: context.progress(0.05 * part, note),
    )
    fit = JointFit(photos, capture.object_box, config, context.runtime)
    loss = fit.run(
        context.folder / "checkpoint.safetensors", lambda part, note: context.progress(0.05 + 0.9 * part, note)
    )
    vertices, faces = fit.mesh()
    found = len(faces)
    faces = faces[fit.seen_faces(vertices, faces)]
    full = len(faces)
    vertices, faces = decimate(vertices, faces, max_faces=config.max_faces)
    vertices, faces = mesh_ops.drop_unused(vertices, faces)
    context.metrics.update(
        loss=loss,
        faces=len(faces),
        faces_before_decimation=full,
        faces_unseen=found - full,
        open_edges=mesh_ops.open_edges(faces),
        volume=mesh_ops.signed_volume(vertices, faces),
    )
    return Mesh(vertices=vertices.float(), faces=faces)


class JointFit:
    """Parameters, optimiser and the loss of one fit.

    Attributes:
        sdf: At the grid's points, negative inside, without a unit.
        shift: Of the points, along the axes, before tanh.
        material: Base colour, roughness and metallic at the points, before the sigmoid.
        light: Radiance per texel of an octahedral map.
        weights: Of FlexiCubes' cells; none with tetrahedra.
    """

    def __init__(self, photos: Photos, box: Float[Tensor, "2 3"], config: GeometryConfig, runtime: Runtime) -> None:
        self.photos, self.config, self.runtime = photos, config, runtime
        self.step, self.recent_loss = 0, 0.0
        self.grid = grid_in_box(box.float().to(runtime.device), resolution=config.grid_resolution)
        self.bounds = torch.cartesian_prod(*(box + box.new_tensor([[-1], [1]]) * self.grid.spacing).float().mT)
        count = math.prod(self.grid.shape)
        start = torch.rand(count, generator=torch.Generator().manual_seed(runtime.seed)) - START_INSIDE
        self.sdf = start.to(runtime.device).requires_grad_()
        self.shift = self.sdf.new_zeros(count, 3).requires_grad_()
        self.material = self.sdf.new_zeros(count, 5).requires_grad_()
        self.light = self.sdf.new_full((LIGHT_PX**2, 3), START_LIGHT).requires_grad_()
        self.dual, self.weights = None, self.sdf.new_zeros(0, WEIGHTS)
        if config.surface == "flexicubes":
            self.dual = FlexiCubes(self.grid, runtime.device)
            self.weights = self.sdf.new_zeros(len(self.dual.cubes), WEIGHTS)
        self.weights.requires_grad_()
        self.optimizer = torch.optim.Adam(
            [
                {"params": [self.sdf, self.shift, self.weights], "first_rate": RATE_SHAPE},
                {"params": [self.material, self.light], "first_rate": RATE_MATERIAL},
            ],
            fused=True,
        )

    def run(self, path: Path, progress: Callable[[float, str], None]) -> float:
        """Fit from the checkpoint at `path`, if there is one, to the last step; returns the mean of the last losses."""
        self._resume(path)
        while self.step < self.config.joint_steps:
            loss = self.advance()
            self.recent_loss = loss if self.recent_loss == 0 else 0.95 * self.recent_loss + 0.05 * loss
            if self.step % 10 == 0:
                progress(self.step / self.config.joint_steps, f"step {self.step}, loss {self.recent_loss:.4f}")
            if self.step % CHECKPOINT_STEPS == 0:
                save_checkpoint(self._state(), path)
        return self.recent_loss

    def advance(self) -> float:
        """Take one step with some of the photos; returns the loss against them."""
        generator = torch.Generator().manual_seed(self.runtime.seed * 1_000_003 + self.step)
        some = torch.randperm(len(self.photos.alpha), generator=generator)[: self.config.joint_batch_views]
        photos = self.photos.batch(some.to(self.sdf.device))
        background = torch.rand(photos.color.shape, generator=generator).to(self.sdf.device)
        surface = self._crossing()
        image = self._drawn(surface, photos.camera, background)
        loss = image_loss(image, photos, background)
        part = self.step / self.config.joint_steps
        total = loss + self._priors(surface, part, coverage=float(photos.alpha.mean()))
        self.optimizer.zero_grad()
        total.backward()
        for group in self.optimizer.param_groups:
            group["lr"] = group["first_rate"] * LAST_RATE**part
        self.optimizer.step()
        with torch.no_grad():
            self.light.clamp_(min=0)  # train.py, lgt.clamp_
        self.step += 1
        return float(loss.detach())

    def mesh(self) -> tuple[Float[Tensor, "vertices 3"], Int[Tensor, "faces 3"]]:
        """Vertices, world units, and faces of the current surface; open where it meets the border of the grid."""
        with torch.no_grad():
            surface = self._crossing()
        return surface.vertices.cpu(), surface.faces.cpu()

    def seen_faces(self, vertices: Float[Tensor, "vertices 3"], faces: Int[Tensor, "faces 3"]) -> Bool[Tensor, "faces"]:
        """Which faces some photo shows, or touch one that it shows; inside of the object noise lives on for long."""
        seen = torch.zeros(len(vertices), dtype=torch.bool)
        near, far = depth_range(self.bounds, self.photos.camera)
        for index in range(len(self.photos.alpha)):
            camera = self.photos.batch(torch.tensor([index], device=self.sdf.device)).camera
            clip = clip_positions(vertices.to(self.sdf.device), camera, near=near, far=far)
            size = (camera.width, camera.height)
            raster = self.runtime.rasterizer.rasterize(clip, faces.to(self.sdf.device), size_px=size)
            seen[faces[raster.face_id[raster.mask].cpu().unique()]] = True
        return seen[faces].any(1)

    def _crossing(self) -> Crossing:
        """The surface between inner and outer points of the grid, with material interpolated like positions.

        Raises:
            CaptureError: When all points are on one side.
        """
        crossed = crossed_edges(self.sdf.detach().reshape(self.grid.shape), self.grid)
        count = len(crossed.low)
        if not count:
            raise CaptureError(
                f"no surface is left after {self.step} steps", remedy="another runtime.seed, or geometry.method=hull"
            )
        both = torch.cat([crossed.low, crossed.high])
        sdf = self.sdf.index_select(0, both).reshape(2, count)
        material = torch.sigmoid(self.material.index_select(0, both)).reshape(2, count, 5)
        if self.dual is not None:
            everywhere = torch.arange(len(self.sdf), device=self.sdf.device)
            vertices, faces, deviation = self.dual(self._positions(everywhere), self.sdf, self.weights)
            return Crossing(
                faces=faces,
                vertices=vertices,
                material=self._material_at(vertices),
                sdf_ends=sdf,
                material_ends=material,
                deviation=deviation,
            )
        position = self._positions(both).reshape(2, count, 3)
        return between(crossed.faces, position=position, sdf=sdf, material=material)

    def _positions(self, index: Int[Tensor, "points"]) -> Float[Tensor, "points 3"]:
        """Where points of the grid were shifted to."""
        shift = MAX_SHIFT * self.grid.spacing * torch.tanh(self.shift.index_select(0, index))
        return self.grid.positions(index) + shift

    def _material_at(self, positions: Float[Tensor, "points 3"]) -> Float[Tensor, "points 5"]:
        """Material between the points of the grid, trilinear, as if they had not been shifted."""
        last = positions.new_tensor([points - 1 for points in self.grid.shape])
        at = 2 * (positions - self.grid.origin) / (self.grid.spacing * last) - 1
        volume = torch.sigmoid(self.material).reshape(1, *self.grid.shape, 5).permute(0, 4, 1, 2, 3)
        zyx = at.flip(1)[None, None, None]  # not a frame flip: grid_sample names the fastest axis first
        return grid_sample(volume, zyx, padding_mode="border", align_corners=True)[0, :, 0, 0].mT

    def _drawn(
        self, surface: Crossing, camera: Camera, background: Float[Tensor, "views size size 3"]
    ) -> Float[Tensor, "views size size 4"]:
        light = prefilter(Environment(coefficients=self.light, basis="octahedral"))
        return drawn(surface, camera, background, light=light, bounds=self.bounds, rasterizer=self.runtime.rasterizer)

    def _priors(self, surface: Crossing, part: float, *, coverage: float) -> Float[Tensor, ""]:
        """Weighted loss of a surface with needless parts, of uneven base colour and of light with a cast."""
        sign_weight = SIGN_WEIGHT + (LAST_SIGN_WEIGHT - SIGN_WEIGHT) * min(1.0, part / SIGN_UNTIL)
        smooth_weight = SMOOTH_WEIGHT * min(1.0, part / SMOOTH_FROM) * SMOOTH_DISTANCE * coverage
        paint = surface.material_ends[..., :3]
        white = self.light.mean(1, keepdim=True)
        return (
            sign_weight * sign_loss(surface.sdf_ends)
            + smooth_weight * (paint[0] - paint[1]).abs().mean()
            + WHITE_WEIGHT * (self.light - white).abs().mean()
            + self._unevenness(surface)
        )

    def _unevenness(self, surface: Crossing) -> Float[Tensor, ""]:
        """Weighted loss of FlexiCubes' vertices that lie off the middle of what they stand for; 0 with tetrahedra."""
        if surface.deviation is None:
            return self.sdf.new_zeros(())
        half = 0.5 * self.grid.spacing * (max(self.grid.shape) - 1)  # the original's grids reach from -1 to 1
        off_center = self.weights[:, :-1].abs().mean()
        return DEVIATION_WEIGHT * surface.deviation.mean() / half + OFF_CENTER_WEIGHT * off_center

    def _state(self) -> dict[str, Tensor]:
        """Every tensor that a fit consists of, by name."""
        own = {name: getattr(self, name) for name in FITTED}
        state = {"step": torch.tensor(self.step), "recent_loss": torch.tensor(self.recent_loss, dtype=torch.float64)}
        for name, parameter in own.items():
            state[name] = parameter
            state |= {f"{name}.{key}": value for key, value in self.optimizer.state[parameter].items()}
        return state

    def _resume(self, path: Path) -> None:
        """Continue an interrupted fit, if there is a checkpoint of it."""
        saved = load_checkpoint(path)
        if not saved:
            return
        self.step, self.recent_loss = int(saved["step"]), float(saved["recent_loss"])
        for name in FITTED:
            parameter = getattr(self, name)
            parameter.data.copy_(saved[name])
            self.optimizer.state[parameter] = {
                key.removeprefix(f"{name}."): value.to(parameter.device)
                for key, value in saved.items()
                if key.startswith(f"{name}.")
            }
