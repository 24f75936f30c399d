"""The configuration: its schema, and Hydra's composition of the YAML files behind one function."""

import dataclasses
import difflib
import re
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from pipeline.config_world import WorldConfig
from pipeline.errors import UsageError


def _require(section: object, name: str, *, low: int | float, high: int | float) -> None:
    """Refuse a value outside [low, high], naming the key."""
    value = getattr(section, name)
    if not low <= value <= high:
        key = f"{type(section).__name__.removesuffix('Config').lower()}.{name}"
        raise UsageError(f"{key}={value} is outside {low:g} .. {high:g}")


def _choose(section: object, name: str, allowed: tuple[str, ...]) -> None:
    """Refuse a word that is not one of `allowed`, naming the key."""
    value = getattr(section, name)
    if value not in allowed:
        key = f"{type(section).__name__.removesuffix('Config').lower()}.{name}"
        raise UsageError(f"{key}={value!r} is not one of {', '.join(allowed)}")


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
    """

    device: str = "auto"
    rasterizer: str = "auto"
    threads: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the values."""
        _choose(self, "device", ("auto", "cpu", "cuda"))
        _choose(self, "rasterizer", ("auto", "cpu", "nvdiffrast"))
        _require(self, "threads", low=0, high=1024)
        _require(self, "seed", low=0, high=2**31 - 1)


@dataclass(frozen=True, kw_only=True)
class IngestConfig:
    """Reading the photos.

    Attributes:
        min_photos: Fewer usable photos than this stop the run; three views are the least that fix a shape.
        max_file_mib: Larger files are refused.
        max_megapixels: Photos of more pixels are refused, by their header.
        max_frames: Files of more frames are refused: they are films.
        decode_timeout_s: Processor time that decoding one photo may take, and a tenth of the time that passes.
        max_memory_mib: Memory that decoding one photo may take.
        max_image_px: Photos with a longer side are scaled down by a whole factor to stay below; no stage uses more.
        min_image_px: Photos with a shorter long side are refused; features need tens of pixels around them.
        max_blur_px: Photos whose edges are smeared by a Gaussian of a larger deviation are refused; measured at a
            long side of at most 1024 px, where sharp photos have 0.5 to 1.
        max_blur_ratio: So are those smeared by more than so many times the capture's median.
        max_clipped: Photos with a larger share of the object (or of the picture's middle) clipped are refused, and
            those with a larger share black.
        max_soft_mask: Masks with a larger share that is neither object nor background are told.
        video_frames: Frames taken from a video, at most: enough for a turn around an object in steps of 6 degrees.
        thin_bursts: Of near duplicates keep the sharpest only; photos with poses are all kept.
    """

    min_photos: int = 3
    max_file_mib: int = 2048
    max_megapixels: int = 250
    max_frames: int = 100
    decode_timeout_s: float = 60.0
    max_memory_mib: int = 4096
    max_image_px: int = 8192
    min_image_px: int = 32
    max_blur_px: float = 3.0
    max_blur_ratio: float = 3.0
    max_clipped: float = 0.9
    max_soft_mask: float = 0.1
    video_frames: int = 60
    thin_bursts: bool = True

    def __post_init__(self) -> None:
        """Check the values."""
        _require(self, "min_photos", low=2, high=10_000)
        _require(self, "max_file_mib", low=1, high=1e6)
        _require(self, "max_megapixels", low=1, high=1e5)
        _require(self, "max_frames", low=1, high=1e6)
        _require(self, "decode_timeout_s", low=0.1, high=1e6)
        _require(self, "max_memory_mib", low=256, high=1e7)
        _require(self, "max_image_px", low=256, high=100_000)
        _require(self, "min_image_px", low=8, high=10_000)
        _require(self, "max_blur_px", low=0.5, high=100)
        _require(self, "max_blur_ratio", low=1, high=1000)
        _require(self, "max_clipped", low=0, high=1)
        _require(self, "max_soft_mask", low=0, high=1)
        _require(self, "video_frames", low=3, high=10_000)


@dataclass(frozen=True, kw_only=True)
class PosesConfig:
    """Structure from motion.

    Attributes:
        max_image_px: Features are found on photos no larger than this (long side): SIFT gains little above.
        max_features: SIFT features kept per photo; matching cost grows with its square.
        camera_model: COLMAP's model; one radial term fits phones and most lenses. It is set to zero when the photos
            show no distortion.
        rig: "handheld", the object stands still and its surroundings help, or "turntable", the object turns before
            a camera and a light that stand still: only the object carries features.
        exhaustive_photos: Up to so many photos all pairs are matched; of more, neighbours and like photos.
        retry_below: Share of the photos below which the next rung of the ladder of attempts is tried.
        min_registered: Share of the photos that must find a pose; below it the run stops.
        timeout_s: Limit for the child process.
        stall_s: The child is ended when it uses no processor time for so long: it hangs.
    """

    max_image_px: int = 1600
    max_features: int = 4096
    camera_model: str = "SIMPLE_RADIAL"
    rig: str = "handheld"
    exhaustive_photos: int = 120
    retry_below: float = 0.8
    min_registered: float = 0.4
    timeout_s: float = 3600.0
    stall_s: float = 120.0

    def __post_init__(self) -> None:
        """Check the values."""
        _choose(self, "camera_model", ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV"))
        _choose(self, "rig", ("handheld", "turntable"))
        _require(self, "max_image_px", low=200, high=20_000)
        _require(self, "max_features", low=200, high=100_000)
        _require(self, "exhaustive_photos", low=3, high=2000)
        _require(self, "retry_below", low=0.0, high=1.0)
        _require(self, "min_registered", low=0.0, high=1.0)
        _require(self, "stall_s", low=1, high=1e6)
        _require(self, "timeout_s", low=1, high=1e6)


@dataclass(frozen=True, kw_only=True)
class MasksConfig:
    """Telling the object from its surroundings, for photos that came without masks.

    Attributes:
        method: How missing masks are made: "backdrop" (plain ones), "model" (`--mask-model`), "consistency" (of the
            photos with each other), "none" (everything inside the object box); "auto" takes the first of these that
            finds an object; "given" makes none.
        model_sha256: What the model's content must hash to, in hexadecimal; empty for any.
        model_timeout_s: Limit for the child process that runs the model.
        repair: Whether masks that the hull of the others contradicts are corrected; given ones, too.
        drop_below: A photo whose mask agrees less than this (IoU) with the hull of the others is left out, unless there
            are many: it shows something else, or its pose is wrong. 0 keeps all.
        working_px: Long side at which masks are made.
        rounds: Rounds of segmenting each view and checking it against the hull of the others.
    """

    method: str = "auto"
    model_sha256: str = ""
    model_timeout_s: float = 3600.0
    repair: bool = False
    drop_below: float = 0.3
    working_px: int = 640
    rounds: int = 3

    def __post_init__(self) -> None:
        """Check the values."""
        _choose(self, "method", ("auto", "given", "backdrop", "model", "consistency", "none"))
        if not re.fullmatch("([0-9a-fA-F]{64})?", self.model_sha256):
            raise UsageError(f"masks.model_sha256={self.model_sha256!r} is not 64 hexadecimal digits")
        _require(self, "model_timeout_s", low=1, high=1e6)
        _require(self, "drop_below", low=0.0, high=1.0)
        _require(self, "working_px", low=100, high=8000)
        _require(self, "rounds", low=1, high=6)


@dataclass(frozen=True, kw_only=True)
class GeometryConfig:
    """The visual hull.

    Attributes:
        grid_resolution: Grid points along the longest side of the object's box.
        max_faces: Triangle budget after decimation.
        dissent: Share of the views that may be overruled about a point of the hull; 0 trusts every mask, none
            takes the share that the masks stage measured.
        min_component: Separate parts smaller than this share of the largest one's volume are dropped.
    """

    grid_resolution: int = 129
    max_faces: int = 60_000
    dissent: float | None = None
    min_component: float = 1e-3

    def __post_init__(self) -> None:
        """Check the values."""
        _require(self, "grid_resolution", low=17, high=513)
        _require(self, "max_faces", low=100, high=5_000_000)
        if self.dissent is not None:
            _require(self, "dissent", low=0.0, high=0.5)
        _require(self, "min_component", low=0.0, high=1.0)


@dataclass(frozen=True, kw_only=True)
class UnwrapConfig:
    """Texture coordinates.

    Attributes:
        method: Which unwrapper goes first, "xatlas" or "uvunwrap"; the other one is the fall-back.
        pack_px: Texture size for which charts are packed.
        padding_px: Gap between charts at that size.
        timeout_s: Limit for the child process; xatlas' time explodes on noisy meshes.
    """

    method: str = "xatlas"
    pack_px: int = 1024
    padding_px: int = 4
    timeout_s: float = 120.0

    def __post_init__(self) -> None:
        """Check the values."""
        _choose(self, "method", ("xatlas", "uvunwrap"))
        _require(self, "pack_px", low=64, high=16_384)
        _require(self, "padding_px", low=0, high=64)
        _require(self, "timeout_s", low=1, high=1e6)


@dataclass(frozen=True, kw_only=True)
class AppearanceConfig:
    """Fitting material and light to the photos.

    Attributes:
        texture_px: Texels along an edge of the maps.
        steps: Optimisation steps.
        batch_px: Random pixels over all views in each step.
        max_pixels: Pixels kept in memory over all views; photos are scaled down to stay below it.
        light: "sh" (spherical harmonics) or "octahedral" (a small map, which glossy objects need).
        sh_degree: Degree of the spherical harmonics.
        light_map_px: Texels along an edge of the octahedral map.
        shadows: Whether the mesh shadows and lights itself; off, all shading is baked into colour.
        start_roughness: Roughness at the start; sharp light needs a smooth start, soft light a rough one.
        learning_rate_maps: Step of the textures (logits).
        learning_rate_light: Step of the light.
        parsimony: Weight of the prior that the same paint comes out the same.
        metallic_prior: Weight of the prior for dielectrics.
        smoothness: Weight of the differences between neighbouring texels.
        white_light: Weight of the prior for a light without a colour cast.
        light_smoothness: Weight of the differences between neighbouring texels of the light.
        checkpoint_steps: A checkpoint is written every so many steps.
    """

    texture_px: int = 1024
    steps: int = 500
    batch_px: int = 32_768
    max_pixels: int = 12_000_000
    light: str = "octahedral"
    sh_degree: int = 8
    light_map_px: int = 128
    shadows: bool = True
    start_roughness: float = 0.2
    learning_rate_maps: float = 0.04
    learning_rate_light: float = 0.06
    parsimony: float = 0.02
    metallic_prior: float = 0.01
    smoothness: float = 0.02
    white_light: float = 0.02
    light_smoothness: float = 0.01
    checkpoint_steps: int = 50

    def __post_init__(self) -> None:
        """Check the values."""
        _choose(self, "light", ("sh", "octahedral"))
        _require(self, "texture_px", low=64, high=16_384)
        _require(self, "steps", low=1, high=1e6)
        _require(self, "batch_px", low=256, high=1e8)
        _require(self, "max_pixels", low=10_000, high=1e10)
        _require(self, "sh_degree", low=0, high=16)
        _require(self, "light_map_px", low=32, high=256)
        _require(self, "start_roughness", low=0.06, high=0.99)
        _require(self, "checkpoint_steps", low=1, high=1e6)
        for name in ("learning_rate_maps", "learning_rate_light"):
            _require(self, name, low=1e-6, high=1.0)
        for name in ("parsimony", "metallic_prior", "smoothness", "white_light", "light_smoothness"):
            _require(self, name, low=0.0, high=100.0)


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
        _choose(self, "image_format", ("png", "jpeg"))
        _require(self, "light_height_px", low=8, high=4096)
        _require(self, "preview_views", low=1, high=64)


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


def load(overrides: list[str], config_file: Path | None = None) -> RunConfig:
    """Compose a run's configuration from the shipped YAML files and the user's `key=value` overrides.

    Args:
        overrides: Hydra overrides: `appearance.steps=200`, `quality=draft`.
        config_file: A composed configuration of an earlier run, taken in place of the shipped ones.

    Raises:
        UsageError: For an unknown key (with the nearest name), a wrong type or a value out of range.
    """
    values = _composed(overrides) if config_file is None else _from_file(config_file, overrides)
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
