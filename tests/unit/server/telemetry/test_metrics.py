"""Counting: what a request, a stream and an adapter event leave in the registry."""

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from veneer_adapters.events import (
    CanaryTakenBack,
    CanaryWatched,
    ColdStart,
    Evicted,
    LoadFinished,
    LoadStage,
    StageFinished,
)
from veneer_server.telemetry.metrics import Metrics


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics(clock: Clock) -> Metrics:
    return Metrics(CollectorRegistry(), clock)


def value(metrics: Metrics, sample: str, **labels: str) -> float | None:
    samples = (s for family in metrics.snapshot().collect() for s in family.samples)
    return next((s.value for s in samples if (s.name, s.labels) == (sample, labels)), None)


def finished(metrics: Metrics, outcome: str) -> float | None:
    labels = {"adapter": "pirate", "endpoint": "chat", "outcome": outcome}
    return value(metrics, "veneer_requests_total", **labels)


def test_a_request_is_in_flight_for_the_length_of_its_block(metrics: Metrics) -> None:
    with metrics.request("chat", "pirate") as seen:
        assert value(metrics, "veneer_requests_in_flight", adapter="pirate") == 1
        seen.completed()
    assert value(metrics, "veneer_requests_in_flight", adapter="pirate") == 0
    assert finished(metrics, "completed") == 1


def test_a_request_that_never_completed_counts_as_failed(metrics: Metrics) -> None:
    with pytest.raises(RuntimeError), metrics.request("chat", "pirate"):
        raise RuntimeError
    assert finished(metrics, "failed") == 1
    assert finished(metrics, "completed") is None
    assert value(metrics, "veneer_requests_in_flight", adapter="pirate") == 0


def test_duration_is_the_whole_block(metrics: Metrics, clock: Clock) -> None:
    with metrics.request("chat", "pirate"):
        clock.now_s = 1.5
    assert value(metrics, "veneer_request_duration_seconds_sum", endpoint="chat") == 1.5


def test_the_first_token_is_ttft_and_each_later_one_a_gap(metrics: Metrics, clock: Clock) -> None:
    with metrics.request("chat", "pirate") as seen:
        for wait_s in (0.25, 0.5, 0.125):
            clock.now_s += wait_s
            seen.token()
    ttft, gaps = "veneer_time_to_first_token_seconds", "veneer_inter_token_latency_seconds"
    assert value(metrics, f"{ttft}_sum", adapter="pirate") == 0.25
    assert value(metrics, f"{ttft}_count", adapter="pirate") == 1
    assert value(metrics, f"{gaps}_sum", adapter="pirate") == 0.625
    assert value(metrics, f"{gaps}_count", adapter="pirate") == 2


@pytest.mark.parametrize(("told", "counted"), [((7, 5), (7, 5)), (None, (None, 2))])
def test_the_engines_count_of_tokens_replaces_our_own(
    metrics: Metrics, told: tuple[int, int] | None, counted: tuple[int | None, int]
) -> None:
    with metrics.request("chat", "pirate") as seen:
        seen.token()
        seen.token()
        if told is not None:
            seen.used(*told)
    tokens = "veneer_tokens_total"
    assert value(metrics, tokens, adapter="pirate", direction="input") == counted[0]
    assert value(metrics, tokens, adapter="pirate", direction="output") == counted[1]


def test_a_load_is_counted_by_outcome_and_origin_and_timed_by_stage(metrics: Metrics) -> None:
    metrics.on_event(StageFinished("pirate", LoadStage.LOAD, 0.5))
    metrics.on_event(LoadFinished("pirate", "disk", "loaded"))
    metrics.on_event(StageFinished("pirate", LoadStage.ACTIVATE, 0.1))
    metrics.on_event(LoadFinished("pirate", "host", "failed"))
    loads = "veneer_adapter_loads_total"
    assert value(metrics, loads, outcome="loaded", source="disk") == 1
    assert value(metrics, loads, outcome="failed", source="host") == 1
    assert value(metrics, "veneer_adapter_load_seconds_sum", stage="load") == 0.5
    assert value(metrics, "veneer_adapter_load_seconds_sum", stage="activate") == 0.1


def test_evictions_and_cold_starts_are_counted(metrics: Metrics) -> None:
    metrics.on_event(Evicted("pirate", "device", "room"))
    metrics.on_event(ColdStart("pirate", 0.2))
    evicted = value(metrics, "veneer_adapter_evictions_total", level="device", reason="room")
    assert evicted == 1
    assert value(metrics, "veneer_adapter_cold_starts_total", adapter="pirate") == 1
    assert value(metrics, "veneer_queue_seconds_sum", reason="adapter") == 0.2


def test_a_canary_taken_back_is_counted_from_zero_by_what_it_did_worse(metrics: Metrics) -> None:
    metrics.observe_adapters("base", lambda: {"pirate": "ready"})
    metrics.on_event(CanaryWatched("pirate"))
    name = "veneer_alias_rollbacks_total"
    assert value(metrics, name, adapter="pirate", reason="schema") == 0
    metrics.on_event(CanaryTakenBack("pirate", "errors"))
    assert value(metrics, name, adapter="pirate", reason="errors") == 1
    metrics.observe_adapters("base", dict)
    assert adapter_labels(metrics) <= {"base"}


def test_what_rarely_happens_is_there_as_zero_before_it_does(metrics: Metrics) -> None:
    failed = {"outcome": "failed", "source": "disk"}
    assert value(metrics, "veneer_adapter_loads_total", **failed) == 0
    metrics.on_event(LoadFinished("pirate", "disk", "failed"))
    assert value(metrics, "veneer_adapter_loads_total", **failed) == 1


def test_what_was_read_for_one_scrape_does_not_change_while_it_is_written(
    metrics: Metrics,
) -> None:
    counts = {("device", "used"): 1}
    metrics.observe_slots(lambda: counts)
    first, _second = metrics.snapshot(), metrics.snapshot()
    counts["device", "used"] = 3
    [family] = [f for f in first.collect() if f.name == "veneer_adapter_slots"]
    assert [sample.value for sample in family.samples] == [1]


def test_residents_are_counted_by_adapter_and_level_when_they_are_scraped(
    metrics: Metrics,
) -> None:
    found = [("pirate", "device")]
    metrics.observe_residents(lambda: found)
    found += [("pirate", "device"), ("haiku", "host")]
    assert value(metrics, "veneer_adapter_resident", adapter="pirate", level="device") == 2
    assert value(metrics, "veneer_adapter_resident", adapter="haiku", level="host") == 1


def adapter_labels(metrics: Metrics) -> set[str]:
    samples = (sample for family in metrics.snapshot().collect() for sample in family.samples)
    return {sample.labels["adapter"] for sample in samples if "adapter" in sample.labels}


def ask(metrics: Metrics, name: str) -> None:
    with metrics.request("chat", name) as seen:
        seen.token()
        seen.token()
        metrics.on_event(ColdStart(name, 0.1))


def test_five_hundred_adapters_get_two_hundred_values_and_one_for_the_rest(
    metrics: Metrics,
) -> None:
    names = [f"a{index}" for index in range(500)]
    metrics.observe_adapters("base", lambda: dict.fromkeys(names, "ready"))
    metrics.observe_residents(lambda: [(name, "device") for name in names])
    for name in [*names, "base", *names]:
        ask(metrics, name)
    found = adapter_labels(metrics)
    assert found == {"base", *names[:199], "__other__"}
    rest = value(metrics, "veneer_adapter_cold_starts_total", adapter="__other__")
    assert rest == 2 * 301
    assert value(metrics, "veneer_adapters", state="ready") == 500


def test_a_deleted_adapters_series_go_and_leave_their_place_to_another(metrics: Metrics) -> None:
    existing = {f"a{index}": "ready" for index in range(200)}
    metrics.observe_adapters("base", lambda: existing)
    for name in existing:
        ask(metrics, name)
    assert "__other__" in adapter_labels(metrics)
    del existing["a0"]
    assert "a0" not in adapter_labels(metrics)
    ask(metrics, "new")
    existing["new"] = "ready"
    assert "new" in adapter_labels(metrics)


def test_a_deleted_adapters_series_stay_until_its_last_request_ends(metrics: Metrics) -> None:
    existing = {"pirate": "ready"}
    metrics.observe_adapters("base", lambda: existing)
    with metrics.request("chat", "pirate"):
        existing.clear()
        assert "pirate" in adapter_labels(metrics)
    assert "pirate" not in adapter_labels(metrics)
    assert value(metrics, "veneer_requests_in_flight", adapter="pirate") is None


def test_creation_times_are_not_exported(metrics: Metrics) -> None:
    ask(metrics, "pirate")
    names = {sample.name for family in metrics.snapshot().collect() for sample in family.samples}
    assert "veneer_requests_total" in names
    assert not {name for name in names if name.endswith("_created")}


def test_slots_are_counted_when_they_are_scraped(metrics: Metrics) -> None:
    counts = {("device", "used"): 0}
    metrics.observe_slots(lambda: counts)
    counts["device", "used"] = 3
    assert value(metrics, "veneer_adapter_slots", level="device", state="used") == 3


def test_two_applications_never_share_counts(clock: Clock) -> None:
    first, second = (Metrics(CollectorRegistry(), clock) for _ in range(2))
    with first.request("chat", "pirate"):
        pass
    assert finished(second, "failed") is None


def test_every_name_is_ours_and_ends_in_its_unit(metrics: Metrics) -> None:
    units = (
        "_seconds",
        "_bytes",
        "_total",
        "_info",
        "_in_flight",
        "_slots",
        "_up",
        "_resident",
        "_adapters",
        "_loss",
        "_workers",
    )
    families = text_string_to_metric_families(generate_latest(metrics.snapshot()).decode())
    for family in families:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        if family.name.endswith("_created"):
            continue
        assert name.startswith("veneer_"), name
        assert name.endswith(units), name


def test_what_a_tenant_gets_is_counted_under_its_name(metrics: Metrics) -> None:
    with metrics.request("chat", "pirate") as seen:
        seen.used(7, 3)
        seen.completed()
    metrics.served("acme", seen)
    metrics.refused("rate_limit_exceeded", "acme")
    assert value(metrics, "veneer_tenant_requests_total", tenant="acme", outcome="completed") == 1
    assert value(metrics, "veneer_tenant_tokens_total", tenant="acme", direction="input") == 7
    assert value(metrics, "veneer_tenant_tokens_total", tenant="acme", direction="output") == 3
    assert value(metrics, "veneer_tenant_queue_seconds_count", tenant="acme") == 1
    refused = {"tenant": "acme", "reason": "rate_limit_exceeded"}
    assert value(metrics, "veneer_tenant_refusals_total", **refused) == 1


def test_who_has_no_tenant_is_the_operator(metrics: Metrics) -> None:
    with metrics.request("chat", "pirate") as seen:
        pass
    metrics.served(None, seen)
    metrics.refused("model_not_found")
    served = {"tenant": "__operator__", "outcome": "failed"}
    assert value(metrics, "veneer_tenant_requests_total", **served) == 1
    refused = {"tenant": "__operator__", "reason": "model_not_found"}
    assert value(metrics, "veneer_tenant_refusals_total", **refused) == 1
