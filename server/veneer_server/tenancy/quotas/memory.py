"""The buckets of one server, in memory. They are full again after a start."""

import time
from collections import Counter
from collections.abc import Callable, Sequence

from veneer_server.tenancy.quotas.buckets import (
    Bucket,
    Standing,
    filled,
    stand,
    stand_at_once,
    take,
)
from veneer_server.tenancy.quotas.demands import Demand, Kind
from veneer_server.tenancy.quotas.stores import Answer


def monotonic_us() -> int:
    """Return the microseconds of a clock that nobody sets."""
    return time.monotonic_ns() // 1000


class MemoryStore:
    """A ``QuotaStore`` for one event loop. There are as many buckets as keys and tenants."""

    def __init__(self, clock_us: Callable[[], int] = monotonic_us) -> None:
        self._clock_us = clock_us
        self._buckets: dict[tuple[str, Kind], Bucket] = {}
        self._running: Counter[str] = Counter()

    async def take(self, demands: Sequence[Demand], ticket: str) -> Answer:
        """Take everything, or nothing; see ``QuotaStore``."""
        now_us = self._clock_us()
        standings = [self._stand(demand, now_us) for demand in demands]
        if any(standing.wait_us for standing in standings):
            return Answer(tuple(standings), admitted=False)
        for demand in demands:
            self._move(demand, now_us, demand.cost)
        return Answer(tuple(self._stand(demand, now_us) for demand in demands), admitted=True)

    async def settle(self, back: Sequence[Demand], ticket: str) -> None:
        """Give back what was taken and not used; see ``QuotaStore``."""
        now_us = self._clock_us()
        for demand in back:
            self._move(demand, now_us, -demand.cost)

    async def run(self) -> None:
        """Nothing has to be done while time passes."""

    async def close(self) -> None:
        """Nothing is held."""

    def _stand(self, demand: Demand, now_us: int) -> Standing:
        if demand.kind is Kind.CONCURRENCY:
            return stand_at_once(self._running[demand.holder.id], demand.limit, demand.cost)
        return stand(self._filled(demand, now_us), demand.limit, demand.cost)

    def _filled(self, demand: Demand, now_us: int) -> Bucket:
        found = self._buckets.get((demand.holder.id, demand.kind))
        return filled(found, demand.limit, now_us)

    def _move(self, demand: Demand, now_us: int, cost: int) -> None:
        if demand.kind is Kind.CONCURRENCY:
            self._running[demand.holder.id] += cost
        else:
            moved = take(self._filled(demand, now_us), demand.limit, cost)
            self._buckets[demand.holder.id, demand.kind] = moved
