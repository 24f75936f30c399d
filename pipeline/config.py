"""The configuration: its schema, and Hydra's composition of the YAML files behind one function."""

import dataclasses
import difflib
import re
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from pipeline.config_capture import IngestConfig, MasksConfig, PosesConfig
from pipeline.config_checks import choose, memory_bytes, require
from pipeline.config_world import WorldConfig
from pipeline.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class RuntimeConfig:
    """Where a run computes.

    Attributes:
        device: "auto" takes CUDA when a GPU and its rasteriser work, else the CPU; "cuda" insists.
        rasterizer: "cpu" is the embedded one, which computes on the CPU and so does the run; "nvdiffrast" needs CUDA
            and insists (its licence is for research and evaluation only); "auto" takes nvdiffrast where it works on
            a GPU, else the embedded one, and says so.
        threads: CPU threads; 0 takes all cores.
        seed: Seed of every random choice. The same seed gives the same asset on the CPU.
        max_memory: Memory that the run and its children may take ("6GiB"); "auto" takes what the machine or its control
            group has left. Settings that need more are lowered before the run starts. A GPU's memory is not planned.
    """

    device: str = "auto"
    rasterizer: str = "auto"
    threads: int = 0
    seed: int = 0
    max_memory: str = "auto"

    def __post_init__(self) -> None:
        """Check the values."""
        choose(self, "device", ("auto", "cpu", "cuda"))
        choose(self, "rasterizer", ("auto", "cpu", "nvdiffrast"))
        require(self, "threads", low=0, high=1024)
        require(self, "seed", low=0, high=2**31 - 1)
        if self.max_memory != "auto":
            memory_bytes(self.max_memory)


@dataclass(frozen=True, kw_only=True)
class GeometryConfig:
    """The visual hull, and what stereo finds inside of it; or a joint fit; or a mesh that is there already.

    Attributes:
        mesh: A mesh (GLB, OBJ or PLY) in the frame of the poses that came along. It takes the place of the hull as it
            is: open surfaces, thin parts and every triangle stay, and its texture coordinates where they can be used.
        method: "hull", or "joint": shape, material and light at once from a random start, as nvdiffrec does
            (docs/nvdiffrec.md), which is here to be compared with.
        surface: How the surface is taken from the grid's values: "tetrahedra", or "flexicubes" by NVIDIA's kaolin where
            that is installed: fewer and rounder triangles from one grid, and in a joint fit vertices that move freely.
        grid_resolution: Grid points along the longest side of the object's box.
        stereo: Whether hollows that no outline shows are looked for by comparing the photos.
        stereo_px: Pixels of a photo that the object covers when photos are compared, on average.
        stereo_compared: Photos that each is compared with.
        stereo_sweeps: Passes over each photo, in which depths spread from pixel to pixel.
        dmtet_steps: Steps in which signed distances near the surface then move to where it looks like the photos, with
            material and light learned beside them (narrow-band DMTet); not for rig=flash. 0, the default, leaves them:
            vertices that move later gain more (docs/ablation.md).
        max_faces: Triangle budget after decimation.
        outline_steps: Steps in which vertices then move to where the mesh has the outlines of the masks; 0 leaves the
            corners that the grid has cut.
        dissent: Share of the views that may be overruled about a point of the hull; 0 trusts every mask, none
            takes the share that the masks stage measured.
        min_component: Separate parts smaller than this share of the largest one's volume are dropped.
        joint_steps: Steps of the joint fit; it goes through the same schedule whatever their number.
        joint_batch_views: Photos that each of these steps, or of `dmtet_steps`, compares.
        joint_px: Pixels along the longer side of the photos that these compare.
    """

    mesh: str | None = None
    method: str = "hull"
    surface: str = "tetrahedra"
    grid_resolution: int = 193
    stereo: bool = True
    stereo_px: int = 50_000
    stereo_compared: int = 5
    stereo_sweeps: int = 3
    dmtet_steps: int = 0
    max_faces: int = 100_000
    outline_steps: int = 150
    dissent: float | None = None
    min_component: float = 1e-3
    joint_steps: int = 5000
    joint_batch_views: int = 8
    joint_px: int = 512

    def __post_init__(self) -> None:
        """Check the values."""
        choose(self, "method", ("hull", "joint"))
        choose(self, "surface", ("tetrahedra", "flexicubes"))
        require(self, "joint_steps", low=1, high=1e6)
        require(self, "joint_batch_views", low=1, high=1024)
        require(self, "joint_px", low=16, high=8192)
        require(self, "grid_resolution", low=17, high=513)
        require(self, "stereo_px", low=1000, high=10_000_000)
        require(self, "stereo_compared", low=2, high=32)
        require(self, "stereo_sweeps", low=1, high=32)
        require(self, "dmtet_steps", low=0, high=1e6)
        if self.dmtet_steps > 0 and (self.method != "hull" or self.mesh is not None):
            raise UsageError("geometry.dmtet_steps moves the hull, which is not made here", remedy="set it to 0")
        require(self, "max_faces", low=100, high=5_000_000)
        require(self, "outline_steps", low=0, high=100_000)
        if self.dissent is not None:
            require(self, "dissent", low=0.0, high=0.5)
        require(self, "min_component", low=0.0, high=1.0)


@dataclass(frozen=True, kw_only=True)
class UnwrapConfig:
    """Texture coordinates.

    Attributes:
        method: Which unwrapper goes first, "uvunwrap" or "xatlas"; the other one is the fall-back. 100 000 triangles
            take uvunwrap 3 s and xatlas 60 to 140, for assets that are no better.
        pack_px: Texture size for which charts are packed.
        padding_px: Gap between charts at that size.
        timeout_s: Limit for the child process; xatlas' time explodes on noisy meshes.
    """

    method: str = "uvunwrap"
    pack_px: int = 1024
    padding_px: int = 4
    timeout_s: float = 120.0

    def __post_init__(self) -> None:
        """Check the values."""
        choose(self, "method", ("uvunwrap", "xatlas"))
        require(self, "pack_px", low=64, high=16_384)
        require(self, "padding_px", low=0, high=64)
        require(self, "timeout_s", low=1, high=1e6)


@dataclass(frozen=True, kw_only=True)
class AppearanceConfig:
    """Fitting material and light to the photos.

    Attributes:
        texture_px: Texels along an edge of the maps, at most; fewer where the photos show no finer detail.
        steps: Optimisation steps.
        batch_px: Random pixels over all views in each step.
        max_pixels: Pixels kept in memory over all views; photos are scaled down to stay below it.
        light: "octahedral" (a small map, which glossy objects need), "sh" (spherical harmonics), or "auto": harmonics
            where a trial shows that nothing in the photos depends on the light's detail.
        sh_degree: Degree of the spherical harmonics.
        light_map_px: Texels along an edge of the octahedral map.
        shadows: Whether the mesh shadows and lights itself; off, all shading is baked into colour.
        flash: Whether a lamp at the camera lights the object (rig=flash), besides what light there is around it.
        exposure: Whether photos of one light may differ by a gain for each channel: "on", "off" when the exposure and
            the white balance were locked, "auto" when the photos turn out to differ by more than light explains. EXIF's
            exposures are taken out first, where the photos bear them out; with "off" they are not.
        poses: Whether cameras are moved, part-way, to where the photos agree with what was learned so far: "on", "off",
            "auto" when some photos say that it helps. The mesh and the masks stay; `cameras.json` tells the new poses.
        vertex_steps: Steps in which, part-way, the mesh's vertices move to where rendered views look like the photos; 0
            leaves them. A mesh that the user brought stays as it is.
        loss: How photos are compared: "gamma", a saturated pixel asking only for its brightness, or "log_srgb", the
            logarithm as nvdiffrec does.
        start_light: Radiance of the even light at the start.
        start_base_color: Base colour at the start; a bright one with dim light turns everything metallic.
        start_metallic: Metallic at the start.
        metallic_from: Share of the steps after which metallic may leave its start, and metals are looked for.
        start_roughness: Roughness at the start; sharp light needs a smooth start, soft light a rough one.
        learning_rate_maps: Step of the textures (logits).
        learning_rate_light: Step of the light.
        parsimony: Weight of the prior that the same paint comes out the same.
        metal_search: Whether metals are looked for, over the whole object and place by place; off, all starts as a
            dielectric and gradients alone decide.
        metallic_prior: Weight of the prior that things are metal or not, but little in between; after `metallic_from`.
        roughness_prior: Weight of the prior that metals are rough. A smoother metal explains the same photos under a
            blurrier light, never the other way around, so that fits end up too smooth.
        smoothness: Weight of the differences between neighbouring texels.
        white_light: Weight of the prior for a light without a colour cast.
        light_smoothness: Weight of the differences between neighbouring texels of the light; a fifth if all is metal.
        normal_map: Whether the asset gets a normal map: detail that the mesh lacks, as reflections show it.
        learning_rate_normals: Step of the normals (logits).
        normal_prior: Weight of the squares of how far normals bend away from the mesh's.
        normal_smoothness: Weight of the differences between neighbouring normals.
        checkpoint_steps: A checkpoint is written every so many steps.
    """

    texture_px: int = 2048
    steps: int = 1000
    batch_px: int = 32_768
    max_pixels: int = 12_000_000
    light: str = "auto"
    sh_degree: int = 8
    light_map_px: int = 128
    shadows: bool = True
    flash: bool = False
    exposure: str = "auto"
    poses: str = "auto"
    vertex_steps: int = 100
    loss: str = "gamma"
    start_light: float = 1.5
    start_base_color: float = 0.2
    start_metallic: float = 0.02
    metallic_from: float = 0.3
    start_roughness: float = 0.2
    learning_rate_maps: float = 0.04
    learning_rate_light: float = 0.06
    parsimony: float = 0.02
    metal_search: bool = True
    metallic_prior: float = 0.01
    roughness_prior: float = 0.01
    smoothness: float = 0.02
    white_light: float = 0.02
    light_smoothness: float = 0.01
    normal_map: bool = True
    learning_rate_normals: float = 0.01
    normal_prior: float = 0.4
    normal_smoothness: float = 0.05
    checkpoint_steps: int = 50

    def __post_init__(self) -> None:
        """Check the values."""
        choose(self, "light", ("auto", "sh", "octahedral"))
        choose(self, "exposure", ("auto", "on", "off"))
        choose(self, "poses", ("auto", "on", "off"))
        choose(self, "loss", ("gamma", "log_srgb"))
        require(self, "texture_px", low=64, high=16_384)
        require(self, "steps", low=1, high=1e6)
        require(self, "batch_px", low=256, high=1e8)
        require(self, "max_pixels", low=10_000, high=1e10)
        require(self, "sh_degree", low=0, high=16)
        require(self, "light_map_px", low=32, high=256)
        require(self, "start_light", low=0.01, high=1000.0)
        require(self, "start_base_color", low=0.01, high=0.99)
        require(self, "start_metallic", low=0.01, high=0.99)
        require(self, "metallic_from", low=0.0, high=1.0)
        require(self, "start_roughness", low=0.06, high=0.99)
        require(self, "checkpoint_steps", low=1, high=1e6)
        require(self, "vertex_steps", low=0, high=100_000)
        for name in ("learning_rate_maps", "learning_rate_light", "learning_rate_normals"):
            require(self, name, low=1e-6, high=1.0)
        for name in ("parsimony", "metallic_prior", "roughness_prior", "smoothness", "white_light", "light_smoothness"):
            require(self, name, low=0.0, high=100.0)
        for name in ("normal_prior", "normal_smoothness"):
            require(self, name, low=0.0, high=100.0)


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """The files that leave the pipeline.

    Attributes:
        image_format: "png" keeps textures exact; "jpeg" is smaller.
        light_height_px: Rows of `light.hdr`.
        preview_views: Views shown in `preview.png`.
    """

    image_format: str = "png"
    light_height_px: int = 128
    preview_views: int = 4

    def __post_init__(self) -> None:
        """Check the values."""
        choose(self, "image_format", ("png", "jpeg"))
        require(self, "light_height_px", low=8, high=4096)
        require(self, "preview_views", low=1, high=64)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A whole run: one section per stage."""

    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    ingest: IngestConfig = field(default_factory=IngestConfig)
    poses: PosesConfig = field(default_factory=PosesConfig)
    world: WorldConfig = field(default_factory=WorldConfig)
    masks: MasksConfig = field(default_factory=MasksConfig)
    geometry: GeometryConfig = field(default_factory=GeometryConfig)
    unwrap: UnwrapConfig = field(default_factory=UnwrapConfig)
    appearance: AppearanceConfig = field(default_factory=AppearanceConfig)
    export: ExportConfig = field(default_factory=ExportConfig)

    def __post_init__(self) -> None:
        """Check what sections ask of each other."""
        if self.appearance.flash and self.geometry.dmtet_steps > 0:
            raise UsageError(
                "geometry.dmtet_steps takes a light that stands still, not a flash", remedy="leave it at 0"
            )


_PATH_KEYS = ("geometry.mesh=",)  # taken as they are: Hydra's grammar breaks on commas, brackets, blanks and "="


def load(overrides: list[str], config_file: Path | None = None) -> RunConfig:
    """Compose a run's configuration from the shipped YAML files and the user's `key=value` overrides.

    Args:
        overrides: Hydra overrides: `appearance.steps=200`, `quality=draft`.
        config_file: A composed configuration of an earlier run, taken in place of the shipped ones.

    Raises:
        UsageError: For an unknown key (with the nearest name), a wrong type or a value out of range.
    """
    paths = [o for o in overrides if o.startswith(_PATH_KEYS)]
    overrides = [o for o in overrides if o not in paths]
    values = _composed(overrides) if config_file is None else _from_file(config_file, overrides)
    for key, _, path in (o.partition("=") for o in paths):
        section, _, name = key.partition(".")
        values[section] = {**(values.get(section) or {}), name: path or None}
    config = _build(RunConfig, values, "")
    if not isinstance(config, RunConfig):
        raise UsageError("the configuration is not a mapping", path=config_file)
    return config


def save(config: RunConfig, path: Path) -> None:
    """Write a configuration that `load(config_file=...)` reads back."""
    from omegaconf import OmegaConf

    path.write_text(OmegaConf.to_yaml(OmegaConf.create(dataclasses.asdict(config))), encoding="utf-8")


def config_folder() -> Path:
    """The shipped YAML files: beside the package in a wheel, at the top of a checkout."""
    package = Path(__file__).parent
    return next(p for p in (package / "configs", package.parent / "configs") if p.is_dir())


def _composed(overrides: list[str]) -> dict[str, Any]:
    """Run Hydra's compose API; it changes no folder and no logging."""
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        with initialize_config_dir(str(config_folder()), version_base="1.3", job_name="recon"):
            tree = compose("run", overrides=_with_force(overrides))
        values = OmegaConf.to_container(tree, resolve=False)
    except (HydraException, OmegaConfBaseException) as error:
        raise UsageError(str(error).strip().splitlines()[0], remedy="key=value, as in appearance.steps=200") from error
    return {str(k): v for k, v in values.items()} if isinstance(values, dict) else {}


def _with_force(overrides: list[str]) -> list[str]:
    """Let overrides set keys that the YAML leaves at the schema's default ("++" adds or replaces)."""
    groups = {p.name for p in config_folder().iterdir() if p.is_dir()}
    foreign = [o for o in overrides if re.match(r"[+~]*hydra\b", o)]
    if foreign:
        raise UsageError(f"unknown configuration key {foreign[0].split('=')[0]}", remedy="Hydra's own are not read")
    return [o if o[0] in "+~" or o.split("=")[0] in groups else f"++{o}" for o in overrides]


def _from_file(path: Path, overrides: list[str]) -> dict[str, Any]:
    """Read a composed file and lay plain `section.key=value` overrides over it."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        tree = OmegaConf.merge(OmegaConf.load(path), OmegaConf.from_dotlist(overrides))
        values = OmegaConf.to_container(tree, resolve=False)
    except (OSError, YAMLError, UnicodeDecodeError, OmegaConfBaseException) as error:
        raise UsageError(f"cannot be read: {str(error).splitlines()[0]}", path=path) from error
    return {str(k): v for k, v in values.items()} if isinstance(values, dict) else {}


def _build(schema: type, values: object, prefix: str) -> object:
    """Build a configuration dataclass from plain values, checking names and types."""
    if not isinstance(values, dict):
        raise UsageError(f"{prefix.rstrip('.')}={values!r} is a value, but a section is expected")
    fields = {f.name: f for f in dataclasses.fields(schema)}
    unknown = [k for k in values if k not in fields]
    if unknown:
        near = difflib.get_close_matches(unknown[0], fields, n=1, cutoff=0.4)
        remedy = f"did you mean {prefix}{near[0]}?" if near else f"known: {', '.join(sorted(fields))}"
        raise UsageError(f"unknown configuration key {prefix}{unknown[0]}", remedy=remedy)
    built = {}
    for name, value in values.items():
        kind = fields[name].type
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            built[name] = _build(kind, value, f"{prefix}{name}.")
        else:
            built[name] = _typed(value, kind, f"{prefix}{name}")
    return schema(**built)


def _typed(value: object, kind: object, key: str) -> object:
    """Check a value's type; whole numbers pass as floats."""
    allowed = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    if float in allowed and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not any(a is type(value) or (a is type(None) and value is None) for a in allowed):
        names = " or ".join(getattr(a, "__name__", str(a)) for a in allowed)
        raise UsageError(f"{key}={value!r} is not {names}")
    return value
