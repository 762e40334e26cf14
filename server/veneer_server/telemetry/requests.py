"""The metrics of requests: how many, how long they took, and what they waited for."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from veneer_server.telemetry.labels import REQUEST_S, AdapterLabels
from veneer_server.telemetry.observation import Observation

_TOKEN_S = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5)


class Waiting(StrEnum):
    """What a request waits for before the engine gets it."""

    ADAPTER = "adapter"
    """A slot, and the load into it."""


class RequestMetrics:
    """What the requests of one server do, adapter by adapter."""

    def __init__(
        self, registry: CollectorRegistry, labels: AdapterLabels, clock: Callable[[], float]
    ) -> None:
        """Count in ``registry``, under the values of the ``adapter`` label that ``labels`` has."""
        self._labels = labels
        self._clock = clock
        counter = partial(Counter, registry=registry)
        histogram = partial(Histogram, registry=registry, buckets=REQUEST_S)
        self._requests = counter(
            "veneer_requests",
            "Requests that ended, by outcome.",
            ["adapter", "endpoint", "outcome"],
        )
        self._ttft = histogram(
            "veneer_time_to_first_token_seconds",
            "From the model's name resolved to the first event of a stream that carries a token.",
            ["adapter"],
        )
        self._itl = histogram(
            "veneer_inter_token_latency_seconds",
            "Between two events of a stream that carry tokens.",
            ["adapter"],
            buckets=_TOKEN_S,
        )
        self._duration = histogram(
            "veneer_request_duration_seconds",
            "From the model's name resolved to the end of the answer.",
            ["endpoint"],
        )
        self._tokens = counter(
            "veneer_tokens", "Tokens read and written.", ["adapter", "direction"]
        )
        self._in_flight = Gauge(
            "veneer_requests_in_flight",
            "Requests being served.",
            ["adapter"],
            registry=registry,
        )
        self._queue = histogram(
            "veneer_queue_seconds",
            "Waits for an adapter before the engine gets a request, by what was missing.",
            ["reason"],
        )
        self._refusals = counter(
            "veneer_refusals", "Requests answered with an error, by its code.", ["reason"]
        )
        # rate() does not see the event that makes a series appear, so series begin at 0.
        for reason in Waiting:
            self._queue.labels(reason)

    @property
    def per_adapter(self) -> tuple[Counter | Gauge | Histogram, ...]:
        """The metrics with an ``adapter`` label."""
        return (self._requests, self._ttft, self._itl, self._tokens, self._in_flight)

    @contextmanager
    def request(
        self, endpoint: str, adapter: str, ids: dict[str, str] | None = None
    ) -> Iterator[Observation]:
        """Count one request for ``adapter``; the block lasts as long as the request.

        All its times begin with the block. Exemplars carry ``ids``, so that a person finds the
        request in logs and traces.
        """
        began_s = self._clock()
        with self._labels.held(adapter) as label:
            seen = Observation(
                began_s,
                self._clock,
                first=partial(self._ttft.labels(label).observe, exemplar=ids),
                next_=self._itl.labels(label).observe,
            )
            self._in_flight.labels(label).inc()
            try:
                yield seen
            except asyncio.CancelledError:
                seen.cancelled()
                raise
            finally:
                self._in_flight.labels(label).dec()
                self._finish(endpoint, label, seen)
                self._duration.labels(endpoint).observe(self._clock() - began_s, exemplar=ids)

    def queued(self, reason: Waiting, seconds: float) -> None:
        """Count one wait, in seconds, before the engine gets a request."""
        self._queue.labels(reason).observe(seconds)

    def refused(self, reason: str) -> None:
        """Count an answer that is an error; ``reason`` is one of the codes in docs/api.md."""
        self._refusals.labels(reason).inc()

    def _finish(self, endpoint: str, label: str, seen: Observation) -> None:
        self._requests.labels(label, endpoint, seen.outcome).inc()
        for direction, number in (("input", seen.input_tokens), ("output", seen.output_tokens)):
            if number:
                self._tokens.labels(label, direction).inc(number)
