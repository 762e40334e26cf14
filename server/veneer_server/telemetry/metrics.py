"""Every metric that Veneer exports, each with one declaration.

A time to first token runs from when the server has resolved the model's name until the first event
of a stream that carries at least one token. A lazy fetch before that is in no metric; the wait for
a load is in it.

A name ends in its unit (``_seconds``, ``_bytes``) or in ``_total``. Every label has few values:
the ``adapter`` label is a catalog name or the base's id, never a text that a client typed, and has
at most 200 own values (``veneer_server.telemetry.labels``). Callers count with the methods, so
they need not know the labels. The methods run on the event loop.
"""

import time
from collections import Counter as Tally
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from itertools import product

from prometheus_client import CollectorRegistry, Counter, Gauge, Info
from prometheus_client.registry import Collector

from veneer_adapters.events import AdapterEvent
from veneer_server import __version__
from veneer_server.telemetry.adapters import AdapterMetrics
from veneer_server.telemetry.labels import AdapterLabels
from veneer_server.telemetry.observation import Observation
from veneer_server.telemetry.requests import RequestMetrics, Waiting
from veneer_server.telemetry.scraping import AtScrape, Snapshot
from veneer_server.telemetry.tenants import TenantMetrics
from veneer_server.telemetry.training import TrainingMetrics

LOSSES = ("died", "hung")
"""Why an engine is started again, as ``engine.supervision.Loss`` has it."""


class Metrics:
    """One instance per application, so that tests never share counts."""

    def __init__(
        self, registry: CollectorRegistry, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.registry = registry
        self._labels = AdapterLabels()
        self._scraped: list[AtScrape] = []
        self._existing: Callable[[], Collection[str]] | None = None
        self.training = TrainingMetrics(registry)
        self._requests = RequestMetrics(registry, self._labels, clock)
        self._tenants = TenantMetrics(registry)
        self._adapters = AdapterMetrics(
            registry, self._labels, partial(self._requests.queued, Waiting.ADAPTER)
        )
        self._declare_server()
        self._declare_batches()

    def _declare_server(self) -> None:
        self._engine_up = Gauge(
            "veneer_engine_up", "Whether the engine can serve.", registry=self.registry
        )
        self._workers = Gauge(
            "veneer_workers",
            "Processes that read requests and write answers for the server, and take connections.",
            registry=self.registry,
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
        for cause in LOSSES:
            self._restarts.labels(cause)
        self.built()

    def _declare_batches(self) -> None:
        self._batch_lines = Counter(
            "veneer_batch_lines",
            "Lines of batches that were answered, by outcome.",
            ["outcome"],
            registry=self.registry,
        )
        for outcome in ("completed", "failed"):
            self._batch_lines.labels(outcome)

    def built(self, **facts: str) -> None:
        """Export what this server is made of, beside its version."""
        self._build.info({"version": __version__, **facts})

    def request(
        self, endpoint: str, adapter: str, ids: dict[str, str] | None = None
    ) -> AbstractContextManager[Observation]:
        """Count one request for ``adapter``; the block lasts as long as the request.

        All its times begin with the block. Exemplars carry ``ids``, so that a person finds the
        request in logs and traces.
        """
        return self._requests.request(endpoint, adapter, ids)

    def served(self, tenant: str | None, seen: Observation) -> None:
        """Count a request that ended for its tenant; None is the operator."""
        self._tenants.served(tenant, seen)

    def refused(self, reason: str, tenant: str | None = None) -> None:
        """Count an answer that is an error; ``reason`` is one of the codes in docs/api.md."""
        self._requests.refused(reason)
        self._tenants.refused(reason, tenant)

    def on_event(self, event: AdapterEvent) -> None:
        """Count an event of residency, staging or a guard; see ``veneer_adapters.events``."""
        self._adapters.on_event(event)

    def usage_lost(self) -> None:
        """Count a request whose row of usage could not be kept."""
        self._usage_lost.inc()

    def batch_line(self, outcome: str) -> None:
        """Count an answered line of a batch: ``completed``, or ``failed`` for an error."""
        self._batch_lines.labels(outcome).inc()

    def engine_is(self, *, up: bool) -> None:
        """Export whether the engine can serve."""
        self._engine_up.set(up)

    def workers_are(self, count: int) -> None:
        """Export how many workers accept connections."""
        self._workers.set(count)

    def engine_restarted(self, reason: str) -> None:
        """Count an engine that was lost, for one of ``LOSSES``, and is started again."""
        self._restarts.labels(reason).inc()

    def observe_batches(self, count: Callable[[], Mapping[tuple[str, ...], int]]) -> None:
        """Export the unfinished batches; ``count`` is called at each scrape, by status."""
        text = "Batches that have not ended, by status."
        self._at_scrape("veneer_batches", text, ["status"], count)

    def observe_jobs(self, count: Callable[[], Mapping[tuple[str, ...], int]]) -> None:
        """Export the unfinished fine-tuning jobs; ``count`` is called at each scrape."""
        text = "Fine-tuning jobs that have not ended, by status."
        self._at_scrape("veneer_training_jobs", text, ["status"], count)

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
        self._scraped.append(AtScrape(name, text, labels, read))

    def snapshot(self, only: Collection[str] | None = None) -> Collector:
        """Return what to export now, without the series of deleted adapters.

        With ``only``, nothing but the samples of these names, which costs less. Call this on the
        event loop; then a thread may collect the result.
        """
        if self._existing is not None:
            self._forget(self._labels.retain(self._existing()))
        wanted = [one for one in self._scraped if only is None or one.name in only]
        read = [family for one in wanted for family in one.collect()]
        counts = self.registry if only is None else self.registry.restricted_registry(only)
        return Snapshot(read, counts)

    def _forget(self, gone: Iterable[str]) -> None:
        per_adapter = (*self._requests.per_adapter, *self._adapters.per_adapter)
        for adapter, metric in product(gone, per_adapter):
            metric.remove_by_labels({"adapter": adapter})
