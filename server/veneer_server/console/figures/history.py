"""What each adapter did in each minute of the last hour, in memory.

A task looks at the metrics once a minute, also while nobody visits; it keeps only the adapters that
had requests. Nothing of it survives a restart.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from veneer_server.console.figures.reading import READ, Counts, Reading, Traffic, between
from veneer_server.console.figures.recent import read_now
from veneer_server.telemetry.metrics import Metrics

STEP_S = 60.0
STEPS = 60


@dataclass(frozen=True, slots=True)
class Step:
    """What happened in one minute."""

    until_s: float
    """Its end, in seconds since the epoch."""
    traffic: Mapping[str, Traffic]
    """By adapter; whoever had no request is not in it."""
    restarts: float
    """How often the engine was started again."""

    def of(self, adapter: str) -> Traffic:
        """Return what happened to one adapter."""
        return self.traffic.get(adapter, _QUIET)


_QUIET = Traffic(0.0, 0.0, None, None)


class History:
    """The last steps, the oldest first. For one event loop."""

    def __init__(self, metrics: Metrics, now: Callable[[], float] = time.time) -> None:
        self._metrics = metrics
        self._now = now
        self._last = Reading(now())
        self._steps: deque[Step] = deque(maxlen=STEPS)

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps that have ended."""
        return tuple(self._steps)

    async def run(self) -> None:
        """Take a step every ``STEP_S`` seconds until cancelled."""
        while True:
            await asyncio.sleep(STEP_S)
            await self.take()

    async def take(self) -> None:
        """End the step that goes on."""
        found = await asyncio.to_thread(read_now, self._metrics.snapshot(READ), self._now())
        restarts = found.restarts - self._last.restarts
        self._steps.append(Step(found.at_s, moved(self._last, found), restarts))
        self._last = found


def moved(earlier: Reading, later: Reading) -> dict[str, Traffic]:
    """Return what happened between two looks to each adapter that had requests."""
    passed_s = later.at_s - earlier.at_s
    none = Counts()
    return {
        name: between(earlier.by_adapter.get(name, none), counts, passed_s)
        for name, counts in later.by_adapter.items()
        if counts.requests > earlier.by_adapter.get(name, none).requests
    }
