"""Checks of settings, which name the key that is wrong."""

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
