"""One look at the metrics, and what happened between two of them. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client import Metric

from veneer_server.telemetry.labels import OTHER

READ = frozenset(
    {
        "veneer_adapter_slots",
        "veneer_sequences_waiting",
        "veneer_requests_in_flight",
        "veneer_engine_restarts_total",
        "veneer_refusals_total",
        "veneer_requests_total",
        "veneer_adapter_cold_starts_total",
        "veneer_time_to_first_token_seconds_bucket",
        "veneer_inter_token_latency_seconds_bucket",
    }
)
"""The samples that ``read`` looks at."""
Buckets = Mapping[float, float]
"""How many observations were at most as large as each bound."""


@dataclass(slots=True)
class Counts:
    """What was counted since the server started."""

    requests: float = 0.0
    failed: float = 0.0
    cold_starts: float = 0.0
    first_token: dict[float, float] = field(default_factory=lambda: defaultdict(float))
    gap: dict[float, float] = field(default_factory=lambda: defaultdict(float))


@dataclass(frozen=True, slots=True)
class Traffic:
    """What happened between two looks."""

    requests_per_s: float
    failed: float
    first_token_p95_s: float | None
    """None when no stream began."""
    gap_p95_s: float | None


@dataclass(slots=True)
class Reading:
    """What the metrics say at one moment."""

    at_s: float
    """On the clock of whoever reads."""
    whole: Counts = field(default_factory=Counts)
    by_adapter: dict[str, Counts] = field(default_factory=lambda: defaultdict(Counts))
    slots: dict[tuple[str, str], float] = field(default_factory=dict)
    """How many there are by level and state."""
    waiting: float = 0.0
    in_flight: float = 0.0
    restarts: float = 0.0
    refusals: dict[str, float] = field(default_factory=dict)
    """Answers that were errors, by their code."""

    def counts_of(self, adapter: str) -> Counts | None:
        """Return what was counted for one adapter; None when it has no figures of its own."""
        if adapter in self.by_adapter:
            return self.by_adapter[adapter]
        return None if OTHER in self.by_adapter else Counts()


def read(families: Iterable[Metric], at_s: float) -> Reading:
    """Return what ``families`` say."""
    found = Reading(at_s)
    for family in families:
        for sample in family.samples:
            _take(found, sample.name, sample.labels, sample.value)
    return found


def between(earlier: Counts, later: Counts, passed_s: float) -> Traffic:
    """Return what happened in the ``passed_s`` seconds from ``earlier`` to ``later``."""
    first = _less(later.first_token, earlier.first_token)
    gaps = _less(later.gap, earlier.gap)
    return Traffic(
        requests_per_s=max(later.requests - earlier.requests, 0.0) / max(passed_s, 1.0),
        failed=max(later.failed - earlier.failed, 0.0),
        first_token_p95_s=quantile(first, 0.95),
        gap_p95_s=quantile(gaps, 0.95),
    )


def quantile(buckets: Buckets, share: float) -> float | None:
    """Return the value that ``share`` of the observations do not exceed, as Prometheus does.

    Above the largest bound nothing is known, so that bound is returned; None without observations.
    """
    bounds = sorted(buckets)
    total = buckets[bounds[-1]] if bounds else 0.0
    if total <= 0:
        return None
    wanted, below, lower = share * total, 0.0, 0.0
    for bound in bounds:
        if buckets[bound] >= wanted:
            if bound == float("inf"):
                return lower
            inside = buckets[bound] - below
            return lower + (bound - lower) * (wanted - below) / inside if inside else bound
        below, lower = buckets[bound], bound
    return lower


def _less(later: Buckets, earlier: Buckets) -> Buckets:
    return {bound: count - earlier.get(bound, 0.0) for bound, count in later.items()}


def _take(found: Reading, name: str, labels: Mapping[str, str], value: float) -> None:
    match name:
        case "veneer_adapter_slots":
            found.slots[labels["level"], labels["state"]] = value
        case "veneer_sequences_waiting":
            found.waiting = value
        case "veneer_requests_in_flight":
            found.in_flight += value
        case "veneer_engine_restarts_total":
            found.restarts += value
        case "veneer_refusals_total":
            found.refusals[labels["reason"]] = value
        case _ if "adapter" in labels:
            _count(found.whole, name, labels, value)
            _count(found.by_adapter[labels["adapter"]], name, labels, value)


def _count(counts: Counts, name: str, labels: Mapping[str, str], value: float) -> None:
    match name:
        case "veneer_requests_total":
            counts.requests += value
            counts.failed += value if labels["outcome"] == "failed" else 0.0
        case "veneer_adapter_cold_starts_total":
            counts.cold_starts += value
        case "veneer_time_to_first_token_seconds_bucket":
            counts.first_token[float(labels["le"])] += value
        case "veneer_inter_token_latency_seconds_bucket":
            counts.gap[float(labels["le"])] += value
