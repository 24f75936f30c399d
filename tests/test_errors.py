"""Errors are told in one line, and each kind has the exit code that scripts rely on."""

from pathlib import Path

import pytest

import pipeline.errors
from pipeline.errors import (
    CaptureError,
    InputError,
    InterruptedRunError,
    NativeCrashError,
    QualityError,
    ReconError,
    ResourceError,
    UsageError,
)

EXIT_CODES = {
    UsageError: 2,
    InputError: 3,
    CaptureError: 4,
    ResourceError: 5,
    NativeCrashError: 6,
    QualityError: 7,
    InterruptedRunError: 130,
}


def test_exit_codes_are_the_documented_ones() -> None:
    kinds = {k for k in vars(pipeline.errors).values() if isinstance(k, type) and issubclass(k, ReconError)}
    assert kinds == {ReconError, *EXIT_CODES}
    assert {kind: kind.exit_code for kind in EXIT_CODES} == EXIT_CODES
    assert ReconError.exit_code == 6  # what none of the kinds describes is ours


@pytest.mark.parametrize("kind", EXIT_CODES)
def test_message_names_file_reason_remedy_and_log(kind: type[ReconError]) -> None:
    error = kind("is too large", path=Path("a b.jpg"), remedy="resize it", log=Path("run/child.log"))
    assert str(error) == "a b.jpg: is too large (resize it) [log: run/child.log]"
    assert error.args == ("is too large",)


def test_message_without_extras_is_the_reason() -> None:
    assert str(InputError("no photos")) == "no photos"


def test_message_is_one_line_whatever_goes_in() -> None:
    text = str(InputError("first\nsecond\r\n  third", path="a\nb.jpg", remedy="do\tthis"))
    assert text.splitlines() == [text]
    assert text == "a b.jpg: first second third (do this)"
