"""`recon bench`: run captures with truth, judge the results, and print one table."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import config
from pipeline.bench.judge import Effort, Judge
from pipeline.bench.table import table
from pipeline.bench.tracer import load_mitsuba
from pipeline.bench.truth import Truth, read_truth
from pipeline.child import Usage, run_command
from pipeline.config import RuntimeConfig
from pipeline.errors import QualityError, ReconError, UsageError
from pipeline.progress import Reporter
from pipeline.render.limits import check_range
from pipeline.runtime import make_runtime, versions
from pipeline.warmup import compile_kernels
from pipeline.workspace import lock, write_json

LEFT_OUT = "LPIPS: its networks' weights cannot be had without a download"
MAX_VIEWS, MAX_SAMPLES = 1000, 4096
Record = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class BenchRequest:
    """What the user asked for.

    Attributes:
        captures: Folders of captures with truth.
        assets: Finished runs or GLB files, one for each capture, to be judged; or none: then the captures are run.
        settings: Of the runs, `key=value`.
        out: Folder for everything.
        views: Test views that are looked at.
        relit_views: Relit views likewise.
        samples: Paths per pixel.

    Raises:
        UsageError: When a number is outside its range, nothing is to be done, or names or settings are wrong.
    """

    captures: tuple[Path, ...]
    assets: tuple[Path, ...] = ()
    settings: tuple[str, ...] = ()
    out: Path = Path("bench")
    views: int = 6
    relit_views: int = 6
    samples: int = 32

    def __post_init__(self) -> None:
        """Refuse impossible numbers and ambiguous names."""
        check_range("--views", self.views, 1, MAX_VIEWS)
        check_range("--relit-views", self.relit_views, 0, MAX_VIEWS)
        check_range("--samples", self.samples, 2, MAX_SAMPLES)
        if not self.captures:
            raise UsageError("there is nothing to judge", remedy="name a folder with truth: recon bench DIR")
        if self.assets and len(self.assets) != len(self.captures):
            raise UsageError(
                f"{len(self.assets)} finished runs for {len(self.captures)} captures",
                remedy="give --asset once for each capture, in the same order",
            )
        if self.assets and self.settings:
            raise UsageError("settings do not change a finished run", remedy="leave out --asset or the settings")
        names = [self.name(capture) for capture in self.captures]
        if doubled := [name for name in names if names.count(name) > 1]:
            raise UsageError(f"two captures are named {doubled[0]}", remedy="judge them with two commands")
        config.load(list(self.settings))

    @staticmethod
    def name(capture: Path) -> str:
        """What a capture is called in the table, and its folder."""
        return capture.resolve().name


def bench(request: BenchRequest, reporter: Reporter) -> int:
    """Run and judge every capture; write `bench.json` and sheets of pictures, print the table.

    Returns:
        The exit code: 0, or that of the first capture that failed.

    Raises:
        UsageError: When Mitsuba is missing.
    """
    load_mitsuba()
    records, code = [], 0
    with lock(request.out):
        for index, capture in enumerate(request.captures):
            asset = request.assets[index] if request.assets else None
            folder = request.out / request.name(capture)
            folder.mkdir(parents=True, exist_ok=True)
            record: Record = {"capture": request.name(capture)}
            try:
                record |= _judged(capture, asset, folder, request, reporter)
                failed = record.get("run_code", 0)
            except ReconError as error:
                record["error"], failed = str(error), error.exit_code
                reporter.warn(f"{request.name(capture)}: {error}")
            code = code or failed
            write_json(folder / "bench.json", record)
            records.append(record)
        told = {"samples": request.samples, "settings": list(request.settings), "left_out": [LEFT_OUT]}
        write_json(request.out / "bench.json", told | {"versions": versions(), "captures": records})
    for line in table(records):
        reporter.line(line)
    reporter.line(f"left out    {LEFT_OUT}")
    reporter.line(f"figures     {request.out / 'bench.json'}, pictures beside it")
    return code


def _judged(capture: Path, asset: Path | None, folder: Path, request: BenchRequest, reporter: Reporter) -> Record:
    """The figures of one capture, run first unless a finished run is given."""
    truth = read_truth(capture)
    usage = None
    if asset is None:
        asset = folder / "run"
        reporter.line(f"{request.name(capture)}: running, see {folder / 'run.log'}")
        usage = _run(capture, asset, folder / "run.log", request)
    effort = Effort(views=request.views, relit_views=request.relit_views, samples=request.samples)
    start = time.monotonic()
    figures = _judge(truth, asset, folder, effort, reporter)
    record: Record = {"asset": str(asset), "cost": _cost(asset, usage)} | figures
    record["judged_in_s"] = round(time.monotonic() - start, 1)
    if usage is not None:
        record["run_code"] = usage.code
    return record


def _judge(truth: Truth, asset: Path, folder: Path, effort: Effort, reporter: Reporter) -> Record:
    rasterizer = make_runtime(RuntimeConfig()).rasterizer
    compile_kernels(reporter.line)
    with reporter.task("judge") as task:
        progress: Callable[[float, str], None] = task
        return Judge(truth=truth, effort=effort, rasterizer=rasterizer, progress=progress).judge(asset, folder)


def _run(capture: Path, out: Path, log: Path, request: BenchRequest) -> Usage:
    """Run a capture in a process of its own.

    Raises:
        ReconError: When the run fails; with its last line, and its exit code.
    """
    usage = run_command(["run", "--images", str(capture), "--out", str(out), *request.settings], log=log)
    if usage.code in (0, QualityError.exit_code):
        return usage
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    failure = ReconError(f"the run failed with exit code {usage.code}: {lines[-1] if lines else 'no word'}", log=log)
    if usage.code > 0:
        failure.exit_code = usage.code
    raise failure


def _cost(run: Path, usage: Usage | None) -> Record | None:
    """Times and memory of a run: measured from outside, or the sums of what its stages noted; none of a bare GLB.

    A stage that was taken from an earlier run notes what it took then, so the sums stay true where a measurement from
    outside would not.
    """
    try:
        stages = json.loads((run / "run.json").read_bytes())["stages"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    device = str(stages[-1]["device"])
    cost: Record = {"device": f"{device} ({os.cpu_count()} cores)" if device == "cpu" else device}
    if usage is not None and not any(stage["reused"] for stage in stages):
        told = {"from": "outside", "wall_s": usage.wall_s, "cpu_s": usage.cpu_s, "peak_mib": usage.peak_mib}
    else:
        told = {
            "from": "the run's stages",
            "wall_s": sum(stage["wall_s"] for stage in stages),
            "cpu_s": sum(stage["cpu_s"] for stage in stages),
            "peak_mib": max(stage["peak_rss_mib"] for stage in stages),
        }
    return cost | told
