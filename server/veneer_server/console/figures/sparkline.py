"""A small curve without axes, as points of SVG lines. Pure."""

from collections.abc import Iterator, Sequence
from itertools import groupby

WIDTH, HEIGHT = 240, 40
_EDGE = 2
"""Room for the thickness of a line."""


def lines_of(values: Sequence[float | None]) -> list[str]:
    """Return the ``points`` of each unbroken line through ``values``, from 0 to the largest.

    Where a value is None, the line breaks; a value on its own is a short line.
    """
    known = [value for value in values if value is not None]
    top = max(known, default=0.0) or 1.0
    runs = groupby(enumerate(values), key=lambda at: at[1] is not None)
    return [_points(list(run), len(values), top) for has_values, run in runs if has_values]


def _points(run: Sequence[tuple[int, float | None]], steps: int, top: float) -> str:
    return " ".join(_dots(run, (WIDTH - 2 * _EDGE) / max(steps - 1, 1), top))


def _dots(run: Sequence[tuple[int, float | None]], step: float, top: float) -> Iterator[str]:
    for at, value in run:
        y = HEIGHT - _EDGE - (value or 0.0) / top * (HEIGHT - 2 * _EDGE)
        yield f"{_EDGE + at * step:.1f},{y:.1f}"
        if len(run) == 1:
            yield f"{_EDGE + at * step + 1:.1f},{y:.1f}"
