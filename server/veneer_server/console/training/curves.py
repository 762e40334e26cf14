"""From what a job said to a curve of its loss. Pure."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from veneer_server.training.jobs.records import Event


@dataclass(frozen=True, slots=True)
class Point:
    """One step; a loss that was not measured, or is no number, is None."""

    step: int
    train: float | None
    valid: float | None


def curve(events: Iterable[Event]) -> list[Point]:
    """Return a point for each step that ``events``, the newest first, have figures of."""
    steps: dict[int, dict[str, float]] = {}
    for event in events:
        step = event.data.get("step")
        if event.kind == "metrics" and isinstance(step, int):
            known = steps.setdefault(step, {})
            # What was said later counts, and it comes first.
            known.update({k: v for k, v in event.data.items() if k not in known and _is_number(v)})
    return [
        Point(step, steps[step].get("train_loss"), steps[step].get("valid_loss"))
        for step in sorted(steps)
    ]


def thinned(points: list[Point], most: int) -> list[Point]:
    """Return about ``most`` of the points: evenly chosen, and all with a held-out loss."""
    every = -(-len(points) // most) if points else 1
    last = len(points) - 1
    return [
        point
        for at, point in enumerate(points)
        if at % every == 0 or at == last or point.valid is not None
    ]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
