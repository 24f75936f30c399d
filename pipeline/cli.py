"""The command `recon`. Heavy modules are imported when a command needs them."""

import argparse
import dataclasses
import os
import re
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from pipeline import __version__
from pipeline.allocator import keep_freed_memory
from pipeline.errors import InterruptedRunError, ReconError, UsageError

if TYPE_CHECKING:
    from pipeline.discovery import Inputs
    from pipeline.render.viewpoints import CameraFile, Turntable

_AOVS = ("normal", "base_color", "orm", "depth", "mask")
_SWAPS = ("base_color", "orm", "normal")
_WORLD = ("up", "front", "box", "distance", "scale")
_Commands: TypeAlias = "argparse._SubParsersAction[_Parser]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code, and prints an error as one line."""
    keep_freed_memory()
    parser = _parser()
    try:
        parsed, rest = parser.parse_known_args(_joined(sys.argv[1:] if arguments is None else arguments))
        parsed.rest = [*getattr(parsed, "overrides", []), *rest]
        signal.signal(signal.SIGTERM, _stop)
        return int(parsed.run(parsed))
    except ReconError as error:
        _tell(f"error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        stopped = InterruptedRunError(
            "stopped; of a run, the same command continues", remedy="finished stages and pictures are kept"
        )
        _tell(str(stopped))
        return stopped.exit_code
    except Exception as error:  # noqa: BLE001  # the last resort: a user gets one line, the log gets the rest
        return _internal_error(error, parsed)


def _joined(arguments: Sequence[str]) -> list[str]:
    """Join `--up -1,0,0` to `--up=-1,0,0`: argparse takes what begins with a minus for an option."""
    joined: list[str] = []
    for word in arguments:
        if joined and joined[-1] in {f"--{name}" for name in _WORLD} and re.match(r"-[\d.]", word):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Tell a wrong command line like every other error: in one line."""
        raise UsageError(message, remedy=f"see {self.prog} --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="recon", description="From photos of an object to an engine-ready asset.")
    parser.add_argument("--version", action="version", version=f"recon {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_run(commands)
    _add_check(commands)
    _add_render(commands)
    _add_bench(commands)
    return parser


def _add_run(commands: _Commands) -> None:
    run = commands.add_parser(
        "run",
        help="turn a folder of photos into an asset",
        description="Turn a folder of photos into a textured, relightable asset (glTF 2.0).",
        epilog="Settings: section.key=value, as in quality=draft or appearance.steps=200; all keys with their "
        "units and defaults are in pipeline/config.py, and the run writes the composed ones to OUT/config.yaml.",
    )
    _add_inputs(run)
    run.add_argument("--out", type=Path, metavar="DIR", help="where the run works (default: runs/NAME)")
    run.add_argument("--mask-model", type=Path, metavar="FILE", help="ONNX model that makes missing masks (u2net, ..)")
    run.add_argument("--config", type=Path, metavar="YAML", help="repeat the run of this config.yaml")
    world = run.add_argument_group(
        "the world",
        "What you know better than the photos tell, given on a first or a second run, which does not solve poses "
        "again. Directions and points are those of the asset that a run without the option makes.",
    )
    world.add_argument("--up", metavar="X,Y,Z", help="this direction of the asset becomes up")
    world.add_argument("--front", metavar="X,Y,Z", help="this direction of the asset becomes its front")
    world.add_argument("--box", metavar="X0,Y0,Z0,X1,Y1,Z1", help="the object's box, as the masks stage prints it")
    world.add_argument("--distance", metavar='"X,Y,Z X,Y,Z METRES"', help="two points of the asset and their distance")
    world.add_argument("--scale", type=float, metavar="METRES", help="for each unit of the poses that came along")
    run.add_argument("--quiet", action="store_true", help="print warnings and errors only")
    run.add_argument("overrides", nargs="*", metavar="key=value", help="settings")
    run.set_defaults(run=_run)


def _add_inputs(command: argparse.ArgumentParser) -> None:
    """The options that say what there is: run and check take the same."""
    command.add_argument(
        "--images",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="folder of photos, or its parent; once more for each pass with the object turned over in between",
    )
    command.add_argument(
        "--video",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="video around the object, whose sharpest frames are taken; each is a pass of its own",
    )
    command.add_argument("--recursive", action="store_true", help="take the photos of all sub-folders")
    command.add_argument(
        "--masks", type=Path, metavar="DIR", help="folder of masks (default: masks/ beside the photos)"
    )
    command.add_argument(
        "--poses",
        metavar="FILE|DIR|solve",
        help="poses of the photos: transforms.json, a COLMAP model, poses_bounds.npy, Metashape's or RealityScan's "
        "cameras (default: those beside the photos, or else solved); solve: do not read any",
    )


def _inputs(parsed: argparse.Namespace) -> "Inputs":
    from pipeline.discovery import Inputs

    solve = parsed.poses == "solve"
    poses = None if solve or parsed.poses is None else Path(parsed.poses)
    return Inputs(
        images=tuple(parsed.images),
        videos=tuple(parsed.video),
        masks=parsed.masks,
        poses=poses,
        solve_poses=solve,
        recursive=parsed.recursive,
        mask_model=getattr(parsed, "mask_model", None),
    )


def _add_check(commands: _Commands) -> None:
    check = commands.add_parser(
        "check",
        help="say whether the photos are enough, and what to shoot next",
        description="Read the photos, pose them quickly, and say which are usable, from where they look at the "
        "object, how wide the widest gap is, and what to shoot next, before an hour is spent on a run.",
        epilog="Writes OUT/check.json and OUT/coverage.png. Exit codes: 0 usable, 3 too few readable photos, 4 nothing "
        "can be reconstructed. Settings are those of recon run.",
    )
    _add_inputs(check)
    check.add_argument("--out", type=Path, metavar="DIR", help="where the report goes (default: runs/NAME-check)")
    check.add_argument("--quiet", action="store_true", help="print warnings and errors only")
    check.add_argument("overrides", nargs="*", metavar="key=value", help="settings")
    check.set_defaults(run=_check)


def _check(parsed: argparse.Namespace) -> int:
    overrides = _overrides(parsed.rest)
    _require_inputs(parsed)
    from pipeline import config
    from pipeline.check.command import CheckRequest, check, light
    from pipeline.progress import Reporter

    parsed.out = parsed.out or Path("runs") / f"{_run_name(parsed)}-check"
    request = CheckRequest(inputs=_inputs(parsed), out=parsed.out, config=light(config.load(overrides)))
    check(request, Reporter(quiet=parsed.quiet))
    return 0


def _add_render(commands: _Commands) -> None:
    render = commands.add_parser(
        "render",
        help="render an asset under any light, from any camera",
        description="Render an asset under any light: a PNG for every camera, and a video of a turntable.",
        epilog="Colours are sRGB, alpha is straight. Without --light, the light.hdr beside the asset is used, or an "
        "even white light. The frame is the asset's: +Y up, front +Z; the light stays still as the cameras go around. "
        "OUT/NAME_depth.exr holds the depth along the camera's axis, 32-bit floats in the channel Z.",
    )
    add = render.add_argument
    add("asset", type=Path, metavar="ASSET", help="the asset, .glb or .gltf")
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the pictures")
    views = render.add_mutually_exclusive_group(required=True)
    views.add_argument("--camera", metavar="FILE[:NAME,..]", help="cameras.json or transforms.json; names: only these")
    views.add_argument("--turntable", type=int, metavar="N", help="N cameras around the asset, and an MP4 of the turn")
    add("--size", type=_size, metavar="N|WxH", help="turntable: pixels (default 512)")
    add("--elevation", type=float, metavar="DEG", help="turntable: height of the cameras (default 15)")
    add("--fov", type=float, metavar="DEG", help="turntable: field of view of the shorter side (default 35)")
    add("--light", type=Path, metavar="MAP", help="longitude-latitude map, .hdr or .exr")
    add("--light-strength", type=float, default=1.0, metavar="X", help="factor on the light (default 1)")
    add("--light-rotation", type=float, default=0.0, metavar="DEG", help="about +Y, counter-clockwise from above")
    add("--background", choices=("white", "black", "light", "transparent"), default="white", help="(default white)")
    add("--exposure", type=float, default=0.0, metavar="EV", help="stops (default 0)")
    add("--samples", type=int, default=2, metavar="N", help="N x N samples a pixel: smooth outlines (default 2)")
    add("--aov", type=_words, default=(), metavar="MAP,..", help=f"also write these: {', '.join(_AOVS)}")
    add("--swap", type=_swap, action="append", default=[], metavar="MAP=FILE", help=f"replace {', '.join(_SWAPS)}")
    add("--tint", type=_rgb, default=(1.0, 1.0, 1.0), metavar="R,G,B", help="factors on the linear base colour")
    add("--roughness", type=float, metavar="X", help="roughness of the whole surface, 0 .. 1")
    add("--quiet", action="store_true", help="print warnings and errors only")
    render.set_defaults(run=_render)


def _render(parsed: argparse.Namespace) -> int:
    if parsed.rest:
        raise UsageError(f"unknown argument {parsed.rest[0]!r}", remedy="see recon render --help")
    from pipeline.progress import Reporter
    from pipeline.render.command import RenderRequest, render
    from pipeline.render.lighting import LightChoice
    from pipeline.render.material_edits import MaterialEdits

    request = RenderRequest(
        asset=parsed.asset,
        views=_views(parsed),
        out=parsed.out,
        light=LightChoice(path=parsed.light, strength=parsed.light_strength, rotation_deg=parsed.light_rotation),
        edits=MaterialEdits(swaps=dict(parsed.swap), tint=parsed.tint, roughness=parsed.roughness),
        background=parsed.background,
        maps=parsed.aov,
        exposure_ev=parsed.exposure,
        samples=parsed.samples,
    )
    render(request, Reporter(quiet=parsed.quiet))
    return 0


def _views(parsed: argparse.Namespace) -> "CameraFile | Turntable":
    from pipeline.render.viewpoints import CameraFile, Turntable

    circle = {"size_px": parsed.size, "elevation_deg": parsed.elevation, "fov_deg": parsed.fov}
    given = {name: value for name, value in circle.items() if value is not None}
    if parsed.turntable is not None:
        return Turntable(count=parsed.turntable, **given)
    if given:
        raise UsageError("--size, --elevation and --fov belong to --turntable", remedy="cameras bring their own")
    return CameraFile.parse(parsed.camera)


def _size(text: str) -> tuple[int, int]:
    sides = re.fullmatch(r"(\d{1,9})(?:x(\d{1,9}))?", text)
    if sides is None:
        raise argparse.ArgumentTypeError(f"{text!r} is neither N nor WxH")
    return int(sides[1]), int(sides[2] or sides[1])


def _words(text: str) -> tuple[str, ...]:
    words = tuple(dict.fromkeys(text.split(",")))
    if unknown := [word for word in words if word not in _AOVS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(_AOVS)}")
    return words


def _swap(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not equals or name not in _SWAPS:
        raise argparse.ArgumentTypeError(f"{text!r} is not MAP=FILE with one of {', '.join(_SWAPS)}")
    return name, Path(path)


def _rgb(text: str) -> tuple[float, float, float]:
    try:
        red, green, blue = (float(word) for word in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not three numbers R,G,B") from error
    return red, green, blue


def _add_bench(commands: _Commands) -> None:
    bench = commands.add_parser(
        "bench",
        help="run captures whose truth is known, and measure how far the assets are from it",
        description="Run captures whose truth is known, and measure how far the assets are from it. A path tracer "
        "(Mitsuba 3, the extra bench) lights the exported files anew; docs/bench.md says what each figure means.",
        epilog="Writes OUT/bench.json, and for each capture OUT/NAME with bench.json, pictures and the run. The exit "
        "code is that of the first capture that failed; the others are judged all the same. Settings are recon run's.",
    )
    add = bench.add_argument
    add("words", nargs="*", metavar="DIR|key=value", help="captures with truth, and settings of their runs")
    add("--out", type=Path, default=Path("bench"), metavar="DIR", help="where all of it goes (default: bench)")
    add("--asset", type=Path, action="append", default=[], metavar="RUN", help="judge this finished run, or .glb")
    add("--views", type=int, default=6, metavar="N", help="test views that are looked at (default 6)")
    add("--relit-views", type=int, default=6, metavar="N", help="relit views likewise (default 6)")
    add("--samples", type=int, default=32, metavar="N", help="paths per pixel (default 32)")
    add("--quiet", action="store_true", help="print warnings and errors only")
    bench.set_defaults(run=_bench)


def _bench(parsed: argparse.Namespace) -> int:
    words = [*parsed.words, *parsed.rest]
    folders = [w for w in words if not w.startswith("-") and ("=" not in w or Path(w).is_dir())]
    settings = _overrides([w for w in words if w not in folders])
    from pipeline.bench.command import BenchRequest, bench
    from pipeline.progress import Reporter

    request = BenchRequest(
        captures=tuple(Path(folder) for folder in folders),
        assets=tuple(parsed.asset),
        settings=tuple(settings),
        out=parsed.out,
        views=parsed.views,
        relit_views=parsed.relit_views,
        samples=parsed.samples,
    )
    return bench(request, Reporter(quiet=parsed.quiet))


def _run(parsed: argparse.Namespace) -> int:
    overrides = _overrides(parsed.rest)
    _require_inputs(parsed)
    from pipeline import config
    from pipeline.progress import Reporter

    composed = config.load(overrides, parsed.config)
    if parsed.config is None and not any(o.startswith("hardware=") for o in overrides):
        from pipeline.runtime import on_gpu

        if on_gpu(composed.runtime):
            composed = config.load(["hardware=gpu", *overrides])
    told = {name: value for name in _WORLD if (value := getattr(parsed, name)) is not None}
    composed = dataclasses.replace(composed, world=dataclasses.replace(composed.world, **told))
    from pipeline.run import run

    out = parsed.out or Path("runs") / _run_name(parsed)
    parsed.out = out
    reporter = Reporter(quiet=parsed.quiet)
    result = run(composed, inputs=_inputs(parsed), out=out, reporter=reporter)
    reporter.line(f"asset       {result.asset}")
    reporter.line(f"preview     {result.preview}")
    reporter.line(f"done in {result.seconds / 60:.1f} min")
    return 0


def _require_inputs(parsed: argparse.Namespace) -> None:
    """Refuse a command that names no photos, or folders that are none, before the slow imports."""
    if not parsed.images + parsed.video:
        raise UsageError("there is nothing to start from", remedy="name a folder with --images DIR or a --video FILE")
    for folder in parsed.images:
        if not folder.is_dir():
            raise UsageError(
                "is a file" if folder.exists() else "does not exist",
                path=folder,
                remedy="name the folder of your photos with --images DIR",
            )


def _run_name(parsed: argparse.Namespace) -> str:
    """Name a run after its photos: the folder's name, or its parent's where the folder says only "images"."""
    folder = (parsed.images[0] if parsed.images else parsed.video[0].with_suffix("")).resolve()
    generic = folder.name.lower() in ("images", "photos", "train", "img", "input")
    return folder.parent.name if generic and folder.parent.name else folder.name or "run"


def _overrides(rest: list[str]) -> list[str]:
    """Every leftover argument must be a setting."""
    for word in rest:
        if word.startswith("-") or "=" not in word:
            raise UsageError(f"unknown argument {word!r}", remedy="settings are key=value; see recon run --help")
    return rest


def _tell(text: str) -> None:
    from pipeline.progress import printable

    print(f"recon: {printable(text)}", file=sys.stderr)  # noqa: T201


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _internal_error(error: Exception, parsed: argparse.Namespace) -> int:
    """Keep the traceback in a log, tell the user in one line."""
    folder = getattr(parsed, "out", None)
    log = (folder if folder is not None and folder.is_dir() else Path.cwd()) / "recon-error.log"
    try:
        log.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        where: Path | None = log
    except OSError:
        where = None
    told = ReconError(f"internal error: {type(error).__name__}: {error}", remedy="please report the log", log=where)
    _tell(f"error: {told}")
    return told.exit_code


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # native libraries' destructors can hang after the work is done
