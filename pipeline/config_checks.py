"""Checks of settings, which name the key that is wrong."""

import re

from pipeline.errors import UsageError


def require(section: object, name: str, *, low: int | float, high: int | float) -> None:
    """Refuse a value outside [low, high], naming the key."""
    value = getattr(section, name)
    if not low <= value <= high:
        key = f"{type(section).__name__.removesuffix('Config').lower()}.{name}"
        raise UsageError(f"{key}={value} is outside {low:g} .. {high:g}")


def choose(section: object, name: str, allowed: tuple[str, ...]) -> None:
    """Refuse a word that is not one of `allowed`, naming the key."""
    value = getattr(section, name)
    if value not in allowed:
        key = f"{type(section).__name__.removesuffix('Config').lower()}.{name}"
        raise UsageError(f"{key}={value!r} is not one of {', '.join(allowed)}")


def memory_bytes(text: str) -> int:
    """An amount of memory, as "6GiB", "6GB" or "800 MiB".

    Raises:
        UsageError: When it is none.
    """
    parts = re.fullmatch(r"(\d+(?:\.\d+)?) *([KMGT])(i?)B?", text)
    if parts is None:
        raise UsageError(f'runtime.max_memory={text!r} is neither "auto" nor an amount as "6GiB"')
    return round(float(parts[1]) * (1024 if parts[3] else 1000) ** ("KMGT".index(parts[2]) + 1))
