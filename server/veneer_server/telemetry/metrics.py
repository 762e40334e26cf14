"""Every metric that Veneer exports, each with one declaration.

A time to first token runs from when the server has resolved the model's name until the first event
of a stream that carries at least one token. A lazy fetch before that is in no metric; the wait for
a load is in it.

A name ends in its unit (``_seconds``, ``_bytes``) or in ``_total``. Every label has few values:
the ``adapter`` label is a catalog name or the base's id, never a text that a client typed, and has
at most 200 own values (``veneer_server.telemetry.labels``). Callers count with the methods, so
they need not know the labels. The methods run on the event loop.
"""

import asyncio
import time
from collections import Counter as Tally
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from itertools import product
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from veneer_adapters.events import (
    AdapterEvent,
    CanaryTakenBack,
    CanaryWatched,
    ColdStart,
    Evicted,
    EvictionReason,
    Level,
    LoadFinished,
    Origin,
    Outcome,
    Reason,
    StageFinished,
)
from veneer_server import __version__
from veneer_server.telemetry.labels import AdapterLabels
from veneer_server.telemetry.observation import Observation
from veneer_server.telemetry.training import TrainingMetrics

_REQUEST_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_TOKEN_S = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5)
_LOAD_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Waiting(StrEnum):
    """What a request waits for before the engine gets it."""

    ADAPTER = "adapter"
    """A slot, and the load into it."""


LOSSES = ("died", "hung")
"""Why an engine is started again, as ``engine.supervision.Loss`` has it."""


OPERATOR = "__operator__"
"""The value of the ``tenant`` label of whoever has no tenant; no tenant can have this name."""


class Metrics:
    """One instance per application, so that tests never share counts."""

    def __init__(
        self, registry: CollectorRegistry, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.registry = registry
        self._clock = clock
        self._labels = AdapterLabels()
        self._tenants = AdapterLabels()
        self._scraped = CollectorRegistry()
        self._existing: Callable[[], Collection[str]] | None = None
        self.training = TrainingMetrics(registry)
        self._declare_requests()
        self._declare_tenants()
        self._declare_adapters()
        self._declare_server()
        self._declare_batches()
        self._begin_at_zero()

    def _declare_requests(self) -> None:
        counter = partial(Counter, registry=self.registry)
        histogram = partial(Histogram, registry=self.registry, buckets=_REQUEST_S)
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
            registry=self.registry,
        )
        self._queue = histogram(
            "veneer_queue_seconds",
            "Waits for an adapter before the engine gets a request, by what was missing.",
            ["reason"],
        )
        self._refusals = counter(
            "veneer_refusals", "Requests answered with an error, by its code.", ["reason"]
        )

    def _declare_tenants(self) -> None:
        counter = partial(Counter, registry=self.registry)
        self._tenant_requests = counter(
            "veneer_tenant_requests", "Requests that ended, by tenant.", ["tenant", "outcome"]
        )
        self._tenant_tokens = counter(
            "veneer_tenant_tokens", "Tokens read and written, by tenant.", ["tenant", "direction"]
        )
        self._tenant_refusals = counter(
            "veneer_tenant_refusals",
            "Requests of a tenant answered with an error, by its code.",
            ["tenant", "reason"],
        )
        self._tenant_queue = Histogram(
            "veneer_tenant_queue_seconds",
            "Waits for a turn before the engine gets a request, by tenant.",
            ["tenant"],
            buckets=_REQUEST_S,
            registry=self.registry,
        )

    def _declare_adapters(self) -> None:
        counter = partial(Counter, registry=self.registry)
        self._loads = counter(
            "veneer_adapter_loads",
            "Loads into the engine, by outcome and by where the weights came from.",
            ["outcome", "source"],
        )
        self._load_seconds = Histogram(
            "veneer_adapter_load_seconds",
            "Time that an adapter took to become usable, by stage.",
            ["stage"],
            registry=self.registry,
            buckets=_LOAD_S,
        )
        self._evictions = counter(
            "veneer_adapter_evictions", "Adapters that left a slot.", ["level", "reason"]
        )
        self._cold = counter(
            "veneer_adapter_cold_starts", "Waits for a load that succeeded.", ["adapter"]
        )
        self._rollbacks = counter(
            "veneer_alias_rollbacks",
            "Aliases that a guard took back from a canary, by where the canary was worse.",
            ["adapter", "reason"],
        )

    def _declare_server(self) -> None:
        self._engine_up = Gauge(
            "veneer_engine_up", "Whether the engine can serve.", registry=self.registry
        )
        self._restarts = Counter(
            "veneer_engine_restarts",
            "Engines that were lost and started again, by why.",
            ["reason"],
            registry=self.registry,
        )
        self._usage_lost = Counter(
            "veneer_usage_lost",
            "Requests whose usage could not be kept.",
            registry=self.registry,
        )
        self._build = Info("veneer_build", "This server.", registry=self.registry)
        self.built()

    def _declare_batches(self) -> None:
        self._batch_lines = Counter(
            "veneer_batch_lines",
            "Lines of batches that were answered, by outcome.",
            ["outcome"],
            registry=self.registry,
        )

    def _begin_at_zero(self) -> None:
        # rate() does not see the event that makes a series appear, so series begin at 0.
        for outcome, origin in product(get_args(Outcome), get_args(Origin)):
            self._loads.labels(outcome, origin)
        for level, why in product(get_args(Level), get_args(EvictionReason)):
            if level == "host" or why == "room":
                self._evictions.labels(level, why)
        for reason in Waiting:
            self._queue.labels(reason)
        for outcome in ("completed", "failed"):
            self._batch_lines.labels(outcome)
        for cause in LOSSES:
            self._restarts.labels(cause)

    def built(self, **facts: str) -> None:
        """Export what this server is made of, beside its version."""
        self._build.info({"version": __version__, **facts})

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

    def _finish(self, endpoint: str, label: str, seen: Observation) -> None:
        self._requests.labels(label, endpoint, seen.outcome).inc()
        for direction, number in (("input", seen.input_tokens), ("output", seen.output_tokens)):
            if number:
                self._tokens.labels(label, direction).inc(number)

    def served(self, tenant: str | None, seen: Observation) -> None:
        """Count a request that ended for its tenant; None is the operator."""
        label = self._tenant_label(tenant)
        self._tenant_requests.labels(label, seen.outcome).inc()
        self._tenant_queue.labels(label).observe(seen.queue_s)
        for direction, number in (("input", seen.input_tokens), ("output", seen.output_tokens)):
            if number:
                self._tenant_tokens.labels(label, direction).inc(number)

    def refused(self, reason: str, tenant: str | None = None) -> None:
        """Count an answer that is an error; ``reason`` is one of the codes in docs/api.md."""
        self._refusals.labels(reason).inc()
        self._tenant_refusals.labels(self._tenant_label(tenant), reason).inc()

    def _tenant_label(self, tenant: str | None) -> str:
        return self._tenants.value(tenant) if tenant else OPERATOR

    def usage_lost(self) -> None:
        """Count a request whose row of usage could not be kept."""
        self._usage_lost.inc()

    def batch_line(self, outcome: str) -> None:
        """Count an answered line of a batch: ``completed``, or ``failed`` for an error."""
        self._batch_lines.labels(outcome).inc()

    def observe_batches(self, count: Callable[[], Mapping[tuple[str, ...], int]]) -> None:
        """Export the unfinished batches; ``count`` is called at each scrape, by status."""
        text = "Batches that have not ended, by status."
        self._at_scrape("veneer_batches", text, ["status"], count)

    def observe_jobs(self, count: Callable[[], Mapping[tuple[str, ...], int]]) -> None:
        """Export the unfinished fine-tuning jobs; ``count`` is called at each scrape."""
        text = "Fine-tuning jobs that have not ended, by status."
        self._at_scrape("veneer_training_jobs", text, ["status"], count)

    def queued(self, reason: Waiting, seconds: float) -> None:
        """Count one wait, in seconds, before the engine gets a request."""
        self._queue.labels(reason).observe(seconds)

    def engine_is(self, *, up: bool) -> None:
        """Export whether the engine can serve."""
        self._engine_up.set(up)

    def engine_restarted(self, reason: str) -> None:
        """Count an engine that was lost, for one of ``LOSSES``, and is started again."""
        self._restarts.labels(reason).inc()

    def on_event(self, event: AdapterEvent) -> None:
        """Count an event of residency, staging or a guard; see ``veneer_adapters.events``."""
        match event:
            case StageFinished():
                self._load_seconds.labels(event.stage).observe(event.seconds)
            case LoadFinished():
                self._loads.labels(event.outcome, event.origin).inc()
            case Evicted():
                self._evictions.labels(event.level, event.reason).inc()
            case ColdStart():
                self._cold.labels(self._labels.value(event.adapter)).inc()
                self.queued(Waiting.ADAPTER, event.seconds)
            case CanaryWatched():
                for reason in get_args(Reason):
                    self._rollbacks.labels(self._labels.value(event.adapter), reason)
            case CanaryTakenBack():
                self._rollbacks.labels(self._labels.value(event.adapter), event.reason).inc()

    def observe_adapters(self, base: str, states: Callable[[], Mapping[str, str]]) -> None:
        """Export how many adapters are in each state.

        ``states`` is called at each scrape and returns the state of each adapter by name. A name
        that is no longer in it loses its series; ``base`` never loses them.
        """
        self._labels.value(base)
        self._existing = lambda: {base, *states()}

        def count() -> Mapping[tuple[str, ...], int]:
            found: Tally[tuple[str, ...]] = Tally((state,) for state in states().values())
            return {("ready",): 0, ("staged",): 0, ("failed",): 0, **found}

        self._at_scrape("veneer_adapters", "Adapters by state.", ["state"], count)

    def observe_residents(self, found: Callable[[], Iterable[tuple[str, str]]]) -> None:
        """Export how many revisions of each adapter are on each level: device and host slots.

        ``found`` is called at each scrape and returns (adapter, level) for each revision.
        """

        def count() -> Mapping[tuple[str, ...], int]:
            return Tally((self._labels.value(adapter), level) for adapter, level in found())

        text = "Revisions of an adapter in the engine, by level."
        self._at_scrape("veneer_adapter_resident", text, ["adapter", "level"], count)

    def observe_slots(self, count: Callable[[], Mapping[tuple[str, ...], int]]) -> None:
        """Export the slots; ``count`` is called at each scrape and counts (level, state)."""
        text = "Adapter slots, by level and state."
        self._at_scrape("veneer_adapter_slots", text, ["level", "state"], count)

    def observe_waiting(self, count: Callable[[], int]) -> None:
        """Export how many sequences wait for their turn; ``count`` is called at each scrape."""
        text = "Sequences that wait for their turn."
        self._at_scrape("veneer_sequences_waiting", text, [], lambda: {(): count()})

    def observe_routing(
        self, max_lora: int, names: Callable[[], tuple[Iterable[str], Iterable[str]]]
    ) -> None:
        """Export the metric that Kubernetes' inference gateway routes by, under vLLM's name.

        ``names`` is called at each scrape. It returns the adapters in device slots, then the
        adapters that requests wait for. The metric replaces vLLM's own; see
        docs/adr/0009-what-the-gateway-is-told.md.
        """

        def now() -> Mapping[tuple[str, ...], float]:
            loaded, awaited = (",".join(found) for found in names())
            return {(str(max_lora), loaded, awaited): time.time()}

        labels = ["max_lora", "running_lora_adapters", "waiting_lora_adapters"]
        text = "Adapters in device slots and adapters waited for; the value is the time now."
        self._at_scrape("vllm:lora_requests_info", text, labels, now)

    def _at_scrape(
        self,
        name: str,
        text: str,
        labels: list[str],
        read: Callable[[], Mapping[tuple[str, ...], float]],
    ) -> None:
        self._scraped.register(_AtScrape(name, text, labels, read))

    def snapshot(self) -> Collector:
        """Return what to export now, without the series of deleted adapters.

        Call this on the event loop; then a thread may collect the result.
        """
        if self._existing is not None:
            self._forget(self._labels.retain(self._existing()))
        return _Snapshot(list(self._scraped.collect()), self.registry)

    def _forget(self, gone: Iterable[str]) -> None:
        per_adapter = (
            self._requests, self._ttft, self._itl, self._tokens, self._in_flight, self._cold,
            self._rollbacks,
        )  # fmt: skip
        for adapter, metric in product(gone, per_adapter):
            metric.remove_by_labels({"adapter": adapter})


class _AtScrape(Collector):
    """A gauge whose values are read at each scrape, so that they are always the real ones."""

    def __init__(
        self,
        name: str,
        text: str,
        labels: list[str],
        read: Callable[[], Mapping[tuple[str, ...], float]],
    ) -> None:
        self._family = partial(GaugeMetricFamily, name, text, labels=labels)
        self._read = read

    def collect(self) -> Iterator[Metric]:
        family = self._family()
        for labels, number in self._read().items():
            family.add_metric(labels, number)
        yield family


class _Snapshot(Collector):
    """The values of one scrape, and all counts, without their ``_created`` series."""

    def __init__(self, read: list[Metric], counts: CollectorRegistry) -> None:
        self._read = read
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        yield from self._read
        for family in self._counts.collect():
            family.samples = [s for s in family.samples if not s.name.endswith("_created")]
            yield family
