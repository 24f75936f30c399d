"""The run's folder: one sub-folder per stage, keyed by content, written whole or not at all."""

import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import resource
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar

import numpy as np
from jaxtyping import UInt8

from pipeline.errors import ReconError, ResourceError, UsageError
from pipeline.formats import images
from pipeline.progress import Reporter, Task
from pipeline.runtime import Runtime, versions

T = TypeVar("T")
STAMP = "stage.json"
PREVIEW = "preview.png"  # in the run's folder
_STAMPED = {"name", "key", "summary", "wall_s", "peak_rss_mib"}  # what others read from it
MIN_FREE_BYTES = 2**20


@dataclass(frozen=True, kw_only=True)
class StageContext:
    """What a stage may use besides its inputs.

    Attributes:
        folder: Where it writes. After an interrupted run with the same key, what it had written is still there.
        runtime: Device, seed and rasteriser.
        progress: Takes the fraction done in [0, 1] and a note.
        metrics: Figures for `run.json`, by name.
        show: Shows the user a picture of the work so far, 8-bit sRGB: as `preview.png` in the run's folder.
        warn: Tells the user about something that the run survives.
    """

    folder: Path
    runtime: Runtime
    progress: Callable[[float, str], None]
    metrics: dict[str, float]
    show: Callable[[UInt8[np.ndarray, "height width 3"]], None]
    warn: Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Stage(Generic[T]):
    """One step of the pipeline.

    Attributes:
        name: Its folder and its configuration section.
        version: Raised when its results change, so that old ones are not re-used.
        compute: `(*inputs, config, context) -> output`.
        save: Writes an output into a folder.
        load: Reads it back.
        summary: One line about the output for the user.
    """

    name: str
    version: int
    compute: Callable[..., T]
    save: Callable[[T, Path], None]
    load: Callable[[Path], T]
    summary: Callable[[T], str]


@dataclass(frozen=True, kw_only=True)
class Staged(Generic[T]):
    """A stage's output with the key of everything that it depends on."""

    value: T
    key: str


@dataclass(kw_only=True)
class Workspace:
    """A locked run folder.

    Attributes:
        root: The folder, `--out`.
        runtime: Handed to the stages.
        reporter: Tells the user what happens.
        records: The stamps of the stages that ran or were re-used, in order.
    """

    root: Path
    runtime: Runtime
    reporter: Reporter
    records: list[dict[str, Any]] = field(default_factory=list)

    def stage(self, stage: Stage[T], config: object, *inputs: Staged[Any]) -> Staged[T]:
        """Load the stage's output when its folder carries the right key, else compute and keep it."""
        key = self._key(stage, config, inputs)
        final = self.root / stage.name
        stamp = _read_stamp(final)
        if stamp is not None and stamp["key"] == key:
            try:
                value = stage.load(final)
            except Exception as error:  # noqa: BLE001  # whatever broke the files, they can be made again
                self.reporter.warn(f"{stage.name}: cannot be re-used and runs again: {error!r}")
            else:
                self.reporter.line(f"{stage.name:<11} re-used   {stamp['summary']}")
                self.records.append(stamp | {"reused": True})
                return Staged(value=value, key=key)
        with _told_as_resource(self.root):
            partial = _partial_folder(self.root / f".{stage.name}.partial", key)
            stamp = self._compute(stage, config, inputs, partial, key)
            _replace(partial, final)
        self.reporter.line(f"{stage.name:<11} {stamp['wall_s']:6.1f} s  {stamp['summary']}")
        self.records.append(stamp | {"reused": False})
        return Staged(value=stage.load(final), key=key)

    def _key(self, stage: Stage[Any], config: object, inputs: tuple[Staged[Any], ...]) -> str:
        parts = {
            "stage": stage.name,
            "version": stage.version,
            "inputs": [i.key for i in inputs],
            "config": _plain(config),
            "seed": self.runtime.seed,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _compute(
        self, stage: Stage[T], config: object, inputs: tuple[Staged[Any], ...], partial: Path, key: str
    ) -> dict[str, Any]:
        wall, cpu, warnings = time.monotonic(), _cpu_seconds(), list[str]()
        metrics: dict[str, float] = {}

        def warn(text: str) -> None:
            warnings.append(text)
            self.reporter.warn(f"{stage.name}: {text}")

        with self.reporter.task(stage.name) as task:
            task(0.0, "")
            context = StageContext(
                folder=partial,
                runtime=self.runtime,
                progress=_total(task),
                metrics=metrics,
                show=lambda picture: images.write_png(self.root / PREVIEW, picture, compress_level=1),
                warn=warn,
            )
            output = stage.compute(*[i.value for i in inputs], config, context)
        stage.save(output, partial)
        stamp = {
            "name": stage.name,
            "version": stage.version,
            "key": key,
            "config": _plain(config),
            "wall_s": round(time.monotonic() - wall, 2),
            "cpu_s": round(_cpu_seconds() - cpu, 2),
            "peak_rss_mib": _peak_rss_mib(),
            "device": str(self.runtime.device),
            "rasterizer": self.runtime.rasterizer.name,
            "versions": versions(),
            "metrics": metrics,
            "warnings": warnings,
            "summary": stage.summary(output),
        }
        write_json(partial / STAMP, stamp)
        return stamp


def _total(task: Task) -> Callable[[float, str], None]:
    return lambda fraction, note: task(fraction, note)


def lock(root: Path) -> BinaryIO:
    """Take the run folder for this process; the returned file holds the lock until it is closed.

    Raises:
        ResourceError: When the folder cannot be written.
        UsageError: When it holds something else than a run, or another run works in it.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        foreign = [p.name for p in root.iterdir()] if not (root / ".lock").exists() else []
        if foreign:
            raise UsageError(
                f"holds {len(foreign)} entries ({', '.join(sorted(foreign)[:3])}) but no run",
                path=root,
                remedy="name an empty or a new folder with --out",
            )
        held = os.fdopen(os.open(root / ".lock", os.O_RDWR | os.O_CREAT, 0o644), "r+b", buffering=0)
    except NotADirectoryError as error:
        raise UsageError("is not a folder", path=root, remedy="name a folder with --out") from error
    except FileExistsError as error:
        raise UsageError("is a file", path=root, remedy="name a folder with --out") from error
    except OSError as error:
        raise ResourceError(f"cannot be written: {error.strerror}", path=root, remedy="choose --out DIR") from error
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = held.read(200).decode(errors="replace").strip()
        held.close()
        raise UsageError(f"locked by {holder}", path=root, remedy="wait for that run, or choose --out") from error
    held.truncate(0)
    held.write(f"pid {os.getpid()} on {socket.gethostname()}\n".encode())
    return held


def write_json(path: Path, value: object) -> None:
    """Write JSON so that the file is either complete or absent (temporary file, fsync, rename)."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _plain(config: object) -> Any:  # noqa: ANN401  # JSON's own types
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return dataclasses.asdict(config)
    return config


def _read_stamp(folder: Path) -> dict[str, Any] | None:
    """The stamp of a finished stage; none when there is none or it cannot be read."""
    try:
        stamp = json.loads((folder / STAMP).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return stamp if isinstance(stamp, dict) and stamp.keys() >= _STAMPED else None


@contextmanager
def _told_as_resource(root: Path) -> Iterator[None]:
    """Tell a full disk or memory as such, whatever library notices it."""
    try:
        yield
    except ReconError:
        raise
    except Exception as error:
        free = shutil.disk_usage(root).free
        if free < MIN_FREE_BYTES or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceError(
                f"the disk is full: {free / 2**20:.1f} MiB free",
                path=root,
                remedy="free some space; the same command continues",
            ) from error
        if isinstance(error, MemoryError):
            raise ResourceError("out of memory", remedy="try quality=draft, or fewer or smaller photos") from error
        raise


def _partial_folder(partial: Path, key: str) -> Path:
    """The temporary folder of a stage: kept when an interrupted run with this key left it, else fresh."""
    marker = partial / ".key"
    if not (marker.is_file() and marker.read_bytes() == key.encode()):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        marker.write_text(key)
    return partial


def _replace(partial: Path, final: Path) -> None:
    """Put the finished folder in its place."""
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def _peak_rss_mib() -> float:
    """Largest resident memory so far of this process or of one of its children, in MiB."""
    used = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return round(max(used) / 1024, 1)
