"""The metrics of adapters: loads, evictions, cold starts, and canaries taken back."""

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Histogram

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
from veneer_server.telemetry.labels import AdapterLabels

_LOAD_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class AdapterMetrics:
    """What residency, staging and guards of one server do; see ``veneer_adapters.events``."""

    def __init__(
        self,
        registry: CollectorRegistry,
        labels: AdapterLabels,
        waited: Callable[[float], None],
    ) -> None:
        """Count in ``registry``; ``waited`` is told of each wait for a load, in seconds."""
        self._labels = labels
        self._waited = waited
        counter = partial(Counter, registry=registry)
        self._loads = counter(
            "veneer_adapter_loads",
            "Loads into the engine, by outcome and by where the weights came from.",
            ["outcome", "source"],
        )
        self._load_seconds = Histogram(
            "veneer_adapter_load_seconds",
            "Time that an adapter took to become usable, by stage.",
            ["stage"],
            registry=registry,
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
        # rate() does not see the event that makes a series appear, so series begin at 0.
        for outcome, origin in product(get_args(Outcome), get_args(Origin)):
            self._loads.labels(outcome, origin)
        for level, why in product(get_args(Level), get_args(EvictionReason)):
            if level == "host" or why == "room":
                self._evictions.labels(level, why)

    @property
    def per_adapter(self) -> tuple[Counter, ...]:
        """The metrics with an ``adapter`` label."""
        return (self._cold, self._rollbacks)

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
                self._waited(event.seconds)
            case CanaryWatched():
                for reason in get_args(Reason):
                    self._rollbacks.labels(self._labels.value(event.adapter), reason)
            case CanaryTakenBack():
                self._rollbacks.labels(self._labels.value(event.adapter), event.reason).inc()
