"""Numbers from the command line within their limits."""

from pipeline.errors import UsageError


def check_range(option: str, value: int | float, low: int | float, high: int | float) -> None:
    """Raise `UsageError` unless the value of an option is a number within its limits."""
    if not low <= value <= high:
        raise UsageError(f"{option} {value:g} is outside {low:g} .. {high:g}")
