"""Errors that a user can act on, one exit code per kind."""

from pathlib import Path


class ReconError(Exception):
    """An error told in one line: what happened, in which file, and what to do about it.

    Args:
        what: What is wrong, with the value and the limit it broke.
        path: The file or folder concerned.
        remedy: What the user can do.
        log: A log file with the details.
    """

    exit_code = 6

    def __init__(
        self,
        what: str,
        *,
        path: Path | str | None = None,
        remedy: str | None = None,
        log: Path | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.path = path
        self.remedy = remedy
        self.log = log

    def __str__(self) -> str:
        """Return the message as one line."""
        line = self.what if self.path is None else f"{self.path}: {self.what}"
        if self.remedy:
            line += f" ({self.remedy})"
        if self.log:
            line += f" [log: {self.log}]"
        return " ".join(line.split())


class UsageError(ReconError):
    """A wrong command line or configuration."""

    exit_code = 2


class InputError(ReconError):
    """Photos, masks or poses that cannot be used as they are."""

    exit_code = 3


class CaptureError(ReconError):
    """Readable photos from which no object can be reconstructed."""

    exit_code = 4


class ResourceError(ReconError):
    """Not enough disk, memory, time or devices."""

    exit_code = 5


class NativeCrashError(ReconError):
    """A child process that runs native code died.

    Attributes:
        died_of: The signal's name or the exit code in words, or empty when that is not known.
    """

    exit_code = 6
    died_of = ""


class QualityError(ReconError):
    """The run finished, but its result misses the quality gate; all files are kept."""

    exit_code = 7


class InterruptedRunError(ReconError):
    """The user stopped the run."""

    exit_code = 130
