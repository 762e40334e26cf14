"""How figures are written for people. Pure."""

from datetime import UTC, datetime

NOTHING = "–"  # noqa: RUF001 - a dash where there is no figure
_STEPS = ((86400, "day"), (3600, "hour"), (60, "minute"))


def size(number: float | None) -> str:
    """Return a number of bytes with its unit."""
    if number is None:
        return NOTHING
    for unit in ("B", "KiB", "MiB"):
        if abs(number) < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"


def seconds(number: float | None) -> str:
    """Return a time that something took; below a second in milliseconds."""
    if number is None:
        return NOTHING
    if number < 1:
        return f"{number * 1000:.3g} ms"
    return f"{number:.3g} s"


def rate(number: float | None) -> str:
    """Return how often something happens in a second."""
    if number is None:
        return NOTHING
    return "0" if number == 0 else f"{number:.2g}" if number < 10 else f"{number:.0f}"


def count(number: float | None) -> str:
    """Return a whole number in groups of three."""
    return NOTHING if number is None else f"{number:,.0f}"


def moment(at_s: float | None) -> str:
    """Return a time since the epoch as a date and a time of day."""
    if at_s is None:
        return NOTHING
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M UTC")


def ago(at_s: float | None, now_s: float) -> str:
    """Return how long ago a time since the epoch was."""
    if at_s is None:
        return NOTHING
    passed = int(now_s - at_s)
    for length, unit in _STEPS:
        if passed >= length:
            number = passed // length
            return f"{number} {unit}{'s' if number > 1 else ''} ago"
    return "just now"
