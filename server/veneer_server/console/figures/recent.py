"""The last looks at the metrics, so that a page can say what happened lately.

A look is taken when somebody wants a page, and costs nothing while nobody does. The figures of a
page cover the time since the oldest look that is kept, at most about ``WINDOW_S``; before there is
one, they cover the time since the server started.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.registry import Collector

from veneer_server.console.figures.reading import READ, Counts, Reading, Traffic, between, read
from veneer_server.telemetry.metrics import Metrics

WINDOW_S = 60.0
FRESH_S = 1.0
"""How old a look may be to serve for another page."""
_USED_BEFORE_S = 5.0


@dataclass(frozen=True, slots=True)
class Lately:
    """The newest look, and the one it is compared with."""

    earlier: Reading
    now: Reading

    @property
    def covers_s(self) -> float:
        """How many seconds the figures cover."""
        return self.now.at_s - self.earlier.at_s

    def whole(self) -> Traffic:
        """Return what happened to all requests."""
        return between(self.earlier.whole, self.now.whole, self.covers_s)

    def of(self, adapter: str) -> Traffic | None:
        """Return what happened to one adapter; None when it has no figures of its own."""
        later = self.now.counts_of(adapter)
        if later is None:
            return None
        return between(self.earlier.counts_of(adapter) or Counts(), later, self.covers_s)


class Recent:
    """Looks at the metrics of one server when it is asked. For one event loop."""

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._clock = clock
        self._begin = Reading(clock())
        self._kept: deque[Reading] = deque(maxlen=int(WINDOW_S / FRESH_S))
        self._turn = asyncio.Lock()

    async def look(self) -> Lately:
        """Return the metrics as they are now, beside an earlier look."""
        async with self._turn:
            now_s = self._clock()
            if not self._kept or now_s - self._kept[-1].at_s >= FRESH_S:
                snapshot = self._metrics.snapshot(READ)
                # With many adapters this takes tens of milliseconds, and no stream should wait.
                self._kept.append(await asyncio.to_thread(read_now, snapshot, now_s))
            return self._lately()

    def _lately(self) -> Lately:
        now = self._kept[-1]
        within = (r for r in self._kept if _USED_BEFORE_S <= now.at_s - r.at_s <= WINDOW_S)
        return Lately(next(within, self._begin), now)


def read_now(snapshot: Collector, now_s: float) -> Reading:
    """Return what ``snapshot`` says; with many adapters this takes tens of milliseconds."""
    return read(_families(snapshot), now_s)


def _families(snapshot: Collector) -> Iterator[Metric]:
    found: Iterable[Metric] = snapshot.collect()
    yield from found
