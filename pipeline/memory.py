"""The memory of a run, planned before it starts: what each stage will need at most, and settings that fit.

Measured: peaks of resident memory, of the run and its children together, on two CPU threads with quality=draft.
48 photos of 24 megapixels with masks and poses: ingest 2.8 GiB, geometry 1.5, appearance 3.5, export 2.8 alone and 3.7
after the others, as freed memory is kept; masks that came along 1.5 (10 photos).
Cut short, so at least: masks made from 10 such photos 4.7 (90 s into the run), their poses solved 1.4 (60 s).
48 photos of 512 x 512: appearance 1.6, 2.2 with textures of 2048. More threads and GPUs were not measured.
"""

import dataclasses
import math
import os
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import GeometryConfig, RunConfig
from pipeline.config_checks import memory_bytes
from pipeline.discovery import Source
from pipeline.errors import InputError, ResourceError
from pipeline.formats.headers import read_header

GIB, MIB = 2**30, 2**20
UNREAD_PX = 24_000_000  # of photos whose header only their decoder knows: RAW, HEIC, EXR
FRAME_PX = 3840 * 2160  # of a video
RESERVE = 256 * MIB  # of what the machine has left: for the system

PHOTOS_PER_CHILD, LARGE_PX = 8, 60_000_000  # how ingest chooses its children
BASE, BASE_INGEST, CHILD = 800 * MIB, 400 * MIB, 250 * MIB  # libraries and kernels: of the run, early on, of a child
KEPT = 1.25  # freed memory that is kept in pieces too small for the next stage
CHILD_PHOTO, PHOTO, FEATURES = 46, 24, 20  # bytes a pixel of a photo that is judged, in linear light, searched
MASK, MADE_MASK = 20, 95  # bytes a pixel of a mask that came along, and of one that is made
STEREO, GRID = 150, 100  # bytes a pixel that is compared, and a grid point
JOINT_PHOTO, JOINT_BATCH, JOINT_GRID = 20, 400, 4000  # of the joint fit: bytes a pixel kept, of a batch, a grid point
BAND_GRID = 200  # of narrow-band DMTet, which keeps photos as the joint fit does: bytes a grid point
FITTED, BATCH, TEXEL, VERTEX = 160, 2500, 400, 13_000  # bytes a pixel fitted, of a batch, a texel, a vertex' visibility
LIT_VERTICES, EXPORTED, RENDERED = 60_000, 150, 170  # of the renders: vertices at most, bytes a texel and a pixel
RENDER_PX = 2048**2

# What may be lowered for a stage, in this order, by halves: section, key, least value.
_KNOBS = {
    "ingest": (("runtime", "threads", 1),),
    "poses": (("runtime", "threads", 1),),
    "masks": (("runtime", "threads", 1),),
    "geometry": (
        ("geometry", "stereo_px", 5000),
        ("geometry", "joint_px", 128),
        ("geometry", "grid_resolution", 65),
    ),
    "appearance": (
        ("appearance", "max_pixels", 500_000),
        ("appearance", "batch_px", 8192),
        ("appearance", "texture_px", 512),
        ("geometry", "max_faces", 20_000),
    ),
    "export": (("appearance", "texture_px", 512), ("geometry", "max_faces", 20_000)),
}


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a run has to carry.

    Attributes:
        photos: Their number.
        stored_px: Pixels of the largest one, as it is stored.
        largest_px: Pixels of the largest one, as the stages after ingest see it.
        total_px: Pixels of all of them, likewise.
        vertices: Of a mesh that the user brought; 0 without.
        masked: Whether every photo came with a mask in a file.
        posed: Whether poses came along.
    """

    photos: int
    stored_px: int
    largest_px: int
    total_px: int
    vertices: int = 0
    masked: bool = True
    posed: bool = True


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Settings that fit into memory.

    Attributes:
        config: The run's settings, lowered where they had to be.
        line: The plan in words for the user.
    """

    config: RunConfig
    line: str


def survey(source: Source, config: RunConfig, *, vertices: int = 0) -> Load:
    """The sizes of all photos by their headers; those of videos and of RAW files are guessed from above."""
    sizes = []
    for photo in source.photos:
        if photo.refused:
            continue
        try:
            header = read_header(photo.path, max_bytes=2**40, max_pixels=2**62, max_frames=2**30)
        except InputError:
            continue  # ingest says what is wrong with it
        sizes.append((header.width, header.height) if header else (UNREAD_PX, 1))
    limit = config.ingest.max_megapixels * 1e6
    sizes = [size for size in sizes if size[0] * size[1] <= limit]
    shrunk = [w * h // _shrink(w, h, config) ** 2 for w, h in sizes]
    frames = [FRAME_PX] * (config.ingest.video_frames * len(source.videos))
    return Load(
        photos=len(sizes) + len(frames),
        stored_px=max([w * h for w, h in sizes] + frames, default=0),
        largest_px=max(shrunk + frames, default=0),
        total_px=sum(shrunk + frames),
        vertices=vertices,
        masked=not source.videos and all(photo.mask for photo in source.photos),
        posed=source.poses_path is not None,
    )


def _shrink(width: int, height: int, config: RunConfig) -> int:
    """The whole factor by which ingest scales a photo down."""
    return 1 if height == 1 else max(1, math.ceil(max(width, height) / config.ingest.max_image_px))


def needs(config: RunConfig, load: Load) -> dict[str, int]:
    """Bytes that each stage needs at its peak, the run and its children together."""
    threads = config.runtime.threads or os.cpu_count() or 1
    children = 1 if load.stored_px > LARGE_PX else min(threads, -(-load.photos // PHOTOS_PER_CHILD))
    vertices = load.vertices or config.geometry.max_faces // 2
    fitted = min(config.appearance.max_pixels, load.total_px)
    texels = config.appearance.texture_px**2
    decoded = BASE + PHOTO * load.largest_px
    peaks = {
        "ingest": BASE_INGEST + children * (CHILD + CHILD_PHOTO * load.stored_px),
        "poses": BASE + (0 if load.posed else threads * FEATURES * load.largest_px),
        "masks": BASE + threads * (MASK if load.masked else MADE_MASK) * load.largest_px,
        "geometry": decoded + _shaping(config.geometry, load),
        "appearance": decoded
        + FITTED * fitted
        + VERTEX * vertices
        + TEXEL * texels
        + BATCH * config.appearance.batch_px,
        "export": decoded
        + VERTEX * max(vertices, LIT_VERTICES)
        + EXPORTED * texels
        + RENDERED * min(load.largest_px, RENDER_PX),
    }
    return {stage: round(peak * (1 if stage == "ingest" else KEPT)) for stage, peak in peaks.items()}


def _shaping(config: GeometryConfig, load: Load) -> int:
    """Bytes that finding the shape needs, besides a photo."""
    grid = config.grid_resolution**3
    kept, batch = load.photos * JOINT_PHOTO, config.joint_batch_views * JOINT_BATCH
    drawn = (kept + batch) * config.joint_px**2
    if config.method == "joint":
        return drawn + JOINT_GRID * grid
    stereo = load.photos * STEREO * config.stereo_px
    return GRID * grid + (stereo if config.dmtet_steps == 0 else max(stereo, drawn + BAND_GRID * grid))


def plan(config: RunConfig, load: Load) -> Plan:
    """Lower what may be lowered until every stage fits into `runtime.max_memory`.

    Raises:
        ResourceError: When not even the least settings fit.
    """
    auto = config.runtime.max_memory == "auto"
    limit = available_bytes() - RESERVE if auto else memory_bytes(config.runtime.max_memory)
    planned = config
    while True:
        stage, need = max(needs(planned, load).items(), key=lambda item: item[1])
        if need <= limit:
            break
        lowered = _lowered(planned, stage, load)
        if lowered is None:
            raise _refusal(stage, need, limit, load, auto=auto)
        planned = lowered
    told = "".join(f", {change}" for change in _changes(config, planned))
    return Plan(config=planned, line=f"memory      {need / GIB:.1f} of {limit / GIB:.1f} GiB ({stage}){told}")


def _refusal(stage: str, need: int, limit: int, load: Load, *, auto: bool) -> ResourceError:
    smaller = "make the photos smaller" if stage == "ingest" else "have photos made smaller by ingest.max_image_px=4096"
    return ResourceError(
        f"{load.photos} photos of up to {load.stored_px / 1e6:.0f} megapixels need at least {need / GIB:.1f} GiB of "
        f"memory ({stage}), {limit / GIB:.1f} GiB are {'left' if auto else 'allowed'}",
        remedy=f"{'close other programs' if auto else 'raise runtime.max_memory'}, or {smaller}",
    )


def _lowered(config: RunConfig, stage: str, load: Load) -> RunConfig | None:
    """The settings with the first of the stage's knobs that helps, and is not at its least, turned down by half."""
    for section, key, least in _KNOBS[stage]:
        part = getattr(config, section)
        value = getattr(part, key) or os.cpu_count() or 1
        if value > least:
            part = dataclasses.replace(part, **{key: max(least, value // 2)})
            lowered = dataclasses.replace(config, **{section: part})
            if needs(lowered, load)[stage] < needs(config, load)[stage]:
                return lowered
    return None


def _changes(before: RunConfig, after: RunConfig) -> list[str]:
    """The knobs that were turned, as `appearance.max_pixels=12000000 lowered to 3000000`."""
    knobs = dict.fromkeys((section, key) for turned in _KNOBS.values() for section, key, _ in turned)
    pairs = [(s, k, getattr(getattr(before, s), k), getattr(getattr(after, s), k)) for s, k in knobs]
    return [f"{s}.{k}={old or 'all'} lowered to {new}" for s, k, old, new in pairs if old != new]


def available_bytes() -> int:
    """Bytes that this process may still take: what the machine has left, or its control group if that is less."""
    left = [int(os.sysconf("SC_PHYS_PAGES")) * int(os.sysconf("SC_PAGE_SIZE"))]
    meminfo = _numbers(Path("/proc/meminfo"))
    if "MemAvailable:" in meminfo:
        left.append(1024 * meminfo["MemAvailable:"])
    for limit, used, cache in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        group = Path("/sys/fs/cgroup")
        try:
            most, now = (int((group / name).read_text()) for name in (limit, used))
        except (OSError, ValueError):  # there is no such group, or its limit is "max"
            continue
        stat = _numbers((group / limit).with_name("memory.stat"))
        left.append(most - now + stat.get(cache, 0))
    return max(0, min(left))


def _numbers(path: Path) -> dict[str, int]:
    """The first number of each line of a file of the kernel, by the line's first word."""
    try:
        rows = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return {}
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}
