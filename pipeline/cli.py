"""The command `recon`. Heavy modules are imported when a command needs them."""

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from pipeline import __version__
from pipeline.errors import InterruptedRunError, ReconError, UsageError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code, and prints an error as one line."""
    parser = _parser()
    try:
        parsed, rest = parser.parse_known_args(arguments)
        overrides = _overrides([*getattr(parsed, "overrides", []), *rest])
        signal.signal(signal.SIGTERM, _stop)
        return int(parsed.run(parsed, overrides))
    except ReconError as error:
        _tell(f"error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        stopped = InterruptedRunError("stopped; the same command continues", remedy="finished stages are kept")
        _tell(str(stopped))
        return stopped.exit_code
    except Exception as error:  # noqa: BLE001  # the last resort: a user gets one line, the log gets the rest
        return _internal_error(error, parsed)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Tell a wrong command line like every other error: in one line."""
        raise UsageError(message, remedy=f"see {self.prog} --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="recon", description="From photos of an object to an engine-ready asset.")
    parser.add_argument("--version", action="version", version=f"recon {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="turn a folder of photos into an asset",
        description="Turn a folder of photos into a textured, relightable asset (glTF 2.0).",
        epilog="Settings: section.key=value, as in quality=draft or appearance.steps=200; all keys with their "
        "units and defaults are in pipeline/config.py, and the run writes the composed ones to OUT/config.yaml.",
    )
    run.add_argument("--images", type=Path, required=True, metavar="DIR", help="folder of photos, or its parent")
    run.add_argument("--out", type=Path, metavar="DIR", help="where the run works (default: runs/NAME)")
    run.add_argument("--config", type=Path, metavar="YAML", help="repeat the run of this config.yaml")
    run.add_argument("--quiet", action="store_true", help="print warnings and errors only")
    run.add_argument("overrides", nargs="*", metavar="key=value", help="settings")
    run.set_defaults(run=_run)
    return parser


def _run(parsed: argparse.Namespace, overrides: list[str]) -> int:
    if not parsed.images.is_dir():  # before the slow imports
        raise UsageError(
            "is a file" if parsed.images.exists() else "does not exist",
            path=parsed.images,
            remedy="name the folder of your photos with --images DIR",
        )
    from pipeline import config
    from pipeline.progress import Reporter

    composed = config.load(overrides, parsed.config)
    from pipeline.run import run

    out = parsed.out or Path("runs") / _run_name(parsed.images)
    parsed.out = out
    reporter = Reporter(quiet=parsed.quiet)
    result = run(composed, images=parsed.images, out=out, reporter=reporter)
    reporter.line(f"asset       {result.asset}")
    reporter.line(f"preview     {result.preview}")
    reporter.line(f"done in {result.seconds / 60:.1f} min")
    return 0


def _run_name(images: Path) -> str:
    """Name a run after its photos: the folder's name, or its parent's where the folder says only "images"."""
    folder = images.resolve()
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
