"""What the user sees while a run works: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

PLAIN_INTERVAL_S = 15.0


def printable(text: str) -> str:
    """Escape what a terminal cannot show or would obey: file names may hold anything."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class Reporter:
    """Prints one line per stage, and the progress of long ones.

    Args:
        quiet: Print warnings and errors only.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(stderr=False, highlight=False, soft_wrap=True)
        self._errors = Console(file=sys.stderr, highlight=False, soft_wrap=True)
        self._quiet = quiet

    def line(self, text: str) -> None:
        """Print a line for the user."""
        if not self._quiet:
            self._console.print(escape(printable(text)))

    def warn(self, text: str) -> None:
        """Print a warning."""
        self._errors.print(f"[yellow]warning:[/] {escape(printable(text))}")

    @contextmanager
    def task(self, name: str) -> Iterator["Task"]:
        """Show the progress of one stage while it runs."""
        if self._console.is_terminal and not self._quiet:
            columns = (
                TextColumn("{task.fields[stage]:<11}"),
                BarColumn(),
                TextColumn("{task.fields[note]}", markup=False),
                TimeElapsedColumn(),
                TextColumn("ETA"),
                TimeRemainingColumn(),
            )
            with Progress(*columns, console=self._console, transient=True) as bar:
                yield _BarTask(bar, name)
        else:
            yield _PlainTask(self, name)


class Task:
    """Takes reports of progress and drops them; the base of the visible kinds."""

    def __call__(self, fraction: float, note: str = "") -> None:
        """Report that `fraction` in [0, 1] of the stage is done."""


class _BarTask(Task):
    def __init__(self, bar: Progress, name: str) -> None:
        self._bar = bar
        self._id = bar.add_task(name, total=1.0, stage=name, note="")

    def __call__(self, fraction: float, note: str = "") -> None:
        self._bar.update(self._id, completed=fraction, note=printable(note))


class _PlainTask(Task):
    def __init__(self, reporter: Reporter, name: str) -> None:
        self._reporter = reporter
        self._name = name
        self._start = self._last = time.monotonic()

    def __call__(self, fraction: float, note: str = "") -> None:
        now = time.monotonic()
        if now - self._last < PLAIN_INTERVAL_S:
            return
        self._last = now
        eta = (now - self._start) * (1 - fraction) / fraction if fraction > 0.02 else float("nan")
        left = f", about {eta:.0f} s left" if eta == eta else ""
        self._reporter.line(f"{self._name:<11} {100 * fraction:3.0f} % {note}{left}")
