"""A curve of losses in plain text: columns of blocks, the loss beside them. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

_BLOCKS = " ▁▂▃▄▅▆▇█"
WIDTH, HEIGHT = 60, 8
Point = tuple[int, float]


def points_of(events: Iterable[Mapping[str, Any]], name: str = "train_loss") -> list[Point]:
    """Return the step and the loss of each of ``events`` that has both, by step."""
    found = {
        int(data["step"]): float(data[name])
        for data in events
        if isinstance(data.get(name), int | float) and isinstance(data.get("step"), int)
    }
    return sorted(found.items())


def spark(points: Sequence[Point], width: int = 20) -> str:
    """Return one line: how the losses went so far."""
    means = _means([loss for _, loss in points], width)
    if not means:
        return ""
    low, high = min(means), max(means)
    return "".join(_BLOCKS[1 + _level(mean, low, high, 7)] for mean in means)


def chart(points: Sequence[Point], width: int = WIDTH, height: int = HEIGHT) -> list[str]:
    """Return lines: a column for each step, or for the mean of some, above the steps."""
    means = _means([loss for _, loss in points], width)
    if not means:
        return []
    top = max(means)
    # The columns begin at zero where that shows something, so that their heights can be compared.
    low = 0.0 if min(means) < top / 2 else min(means) - (top - min(means) or top or 1.0) / 4
    levels = [_level(mean, low, top, 8 * height) for mean in means]
    rows = []
    for row in range(height, 0, -1):
        label = low + (top - low) * row / height
        filled = [min(max(level - 8 * (row - 1), 0), 8) for level in levels]
        columns = "".join(_BLOCKS[one] for one in filled).rstrip()
        rows.append(f"{label:8.3f} ┤{columns}")
    first, last = str(points[0][0]), str(points[-1][0])
    between = " " * max(len(means) - len(first) - len(last), 1)
    return [*rows, f"{low:8.3f} └{'─' * len(means)}", f"{'step':>8}  {first}{between}{last}"]


def _means(losses: Sequence[float], width: int) -> list[float]:
    """Return at most ``width`` means of neighbours."""
    count = min(len(losses), width)
    edges = [at * len(losses) // count for at in range(count + 1)] if count else []
    parts = [losses[start:end] for start, end in pairwise(edges)]
    return [sum(part) / len(part) for part in parts]


def _level(value: float, low: float, high: float, most: int) -> int:
    return most if high <= low else round((value - low) / (high - low) * most)
