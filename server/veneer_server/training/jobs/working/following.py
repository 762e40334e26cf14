"""What of a trainer's events is news, and what they say of the job. Pure."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from veneer_server.training.jobs.records import Event, Progress

MOST_STEPS = 500
"""About so many steps of a job are told; a longer job tells every second, third, ..."""
_LEVELS = ("info", "warn", "error")
_LONGEST = 2000


def read(found: Iterable[Mapping[str, Any]], before: Progress) -> tuple[Progress, list[Event]]:
    """Return how far the job is after the events in ``found``, and those that are told.

    After a kill the figures of some steps come again; they are not told again.
    """
    progress, told = before, []
    for one in found:
        event = _to_event(one)
        step, total = _count(event, "step"), _count(event, "total_steps")
        if event.kind != "metrics":
            told.append(event)
            continue
        if not total:  # the figures of a checkpoint
            if step > progress.checkpoint:
                told.append(event)
                progress = replace(progress, checkpoint=step)
            continue
        if step <= progress.step:
            continue
        progress = replace(
            progress,
            step=step,
            total_steps=total,
            trained_tokens=_count(event, "trained_tokens") or progress.trained_tokens,
            finish=_finish(event, total - step),
        )
        if step == total or step % max(1, math.ceil(total / MOST_STEPS)) == 0:
            told.append(event)
    return progress, told


def _to_event(one: Mapping[str, Any]) -> Event:
    level, data = str(one.get("level")), one.get("data")
    return Event(
        str(one.get("message", ""))[:_LONGEST].replace("\0", "?"),  # PostgreSQL takes no NUL
        level if level in _LEVELS else "info",
        "metrics" if one.get("type") == "metrics" else "message",
        data if isinstance(data, dict) else {},
        _whole(one.get("created_at")),
    )


def _count(event: Event, name: str) -> int:
    return _whole(event.data.get(name))


def _whole(found: Any) -> int:
    return int(found) if isinstance(found, int | float) and math.isfinite(found) else 0


def _finish(event: Event, left: int) -> int | None:
    seconds = event.data.get("seconds")
    if not isinstance(seconds, int | float) or not event.created:
        return None
    return event.created + math.ceil(left * seconds)
