"""Every metric Veneer exports, one declaration each.

A name ends in its unit (``_seconds``, ``_bytes``) or in ``_total``. The ``adapter`` label is
a catalog name or the base's id, never what a client typed. Counting happens through the
methods, so call sites stay free of labels.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from veneer_adapters.host import EvictionReason, ObservedKind, Origin, Outcome
from veneer_adapters.policy import Level
from veneer_server import __version__

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Observation:
    """One request being counted; ends as ``failed`` unless told otherwise."""

    def __init__(self, first_token: Callable[[], None]) -> None:
        self.outcome = "failed"
        self._first_token = first_token

    def completed(self) -> None:
        """The client got a whole answer."""
        self.outcome = "completed"

    def cancelled(self) -> None:
        """The client left, or the server could wait no longer."""
        self.outcome = "cancelled"

    async def watch(self, frames: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
        """Pass ``frames`` on unchanged; the first one is the first token."""
        first = True
        try:
            async for frame in frames:
                if first:
                    self._first_token()
                    first = False
                yield frame
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled()
            raise
        self.completed()


class Metrics:
    """One instance per application, so that tests never share counts."""

    def __init__(
        self, registry: CollectorRegistry, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.registry = registry
        self._clock = clock
        self._requests = Counter(
            "veneer_requests",
            "Requests finished, by how they ended.",
            ["adapter", "endpoint", "outcome"],
            registry=registry,
        )
        self._ttft = Histogram(
            "veneer_time_to_first_token_seconds",
            "Accepted to first event of a stream.",
            ["adapter"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._duration = Histogram(
            "veneer_request_duration_seconds",
            "Accepted to last byte.",
            ["endpoint"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._in_flight = Gauge(
            "veneer_requests_in_flight", "Requests being served.", ["adapter"], registry=registry
        )
        self._loads = Counter(
            "veneer_adapter_loads",
            "Loads into the engine, by outcome and level the weights came from.",
            ["outcome", "source"],
            registry=registry,
        )
        self._load_seconds = Histogram(
            "veneer_adapter_load_seconds",
            "Time an adapter took to become usable, by stage.",
            ["stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._evictions = Counter(
            "veneer_adapter_evictions",
            "Adapters that left a slot.",
            ["level", "reason"],
            registry=registry,
        )
        self._cold = Counter(
            "veneer_adapter_cold_starts",
            "Requests that waited for a load.",
            ["adapter"],
            registry=registry,
        )
        self._build = Info("veneer_build", "Version of this server.", registry=registry)
        self._build.info({"version": __version__})

    @contextmanager
    def request(self, endpoint: str, adapter: str) -> Iterator[Observation]:
        """Count one request of ``adapter`` for the length of the block."""
        began = self._clock()
        seen = Observation(lambda: self._ttft.labels(adapter).observe(self._clock() - began))
        self._in_flight.labels(adapter).inc()
        try:
            yield seen
        except asyncio.CancelledError:
            seen.cancelled()
            raise
        finally:
            self._in_flight.labels(adapter).dec()
            self._requests.labels(adapter, endpoint, seen.outcome).inc()
            self._duration.labels(endpoint).observe(self._clock() - began)

    def on_event(
        self,
        kind: ObservedKind,
        adapter: str,
        *,
        seconds: float | None = None,
        outcome: Outcome | None = None,
        origin: Origin | None = None,
        level: Level | None = None,
        reason: EvictionReason | None = None,
    ) -> None:
        """Count what residency tells; see ``veneer_adapters.host.Observer``."""
        if kind == "load_finished":
            self._loads.labels(outcome, origin).inc()
            self._load_seconds.labels("load" if origin == "disk" else "activate").observe(
                seconds or 0.0
            )
        elif kind == "evicted":
            self._evictions.labels(level, reason).inc()
        elif kind == "cold_start":
            self._cold.labels(adapter).inc()

    def observe_slots(self, count: Callable[[], Mapping[tuple[str, str], int]]) -> None:
        """Export slots by (level, state) as ``count`` tells at each scrape."""
        self.registry.register(_Slots(count))


class _Slots(Collector):
    """Read when scraped, so that it cannot drift from what is really resident."""

    def __init__(self, count: Callable[[], Mapping[tuple[str, str], int]]) -> None:
        self._count = count

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "veneer_adapter_slots", "Adapter slots, by level and state.", labels=["level", "state"]
        )
        for labels, number in self._count().items():
            family.add_metric(labels, number)
        yield family
