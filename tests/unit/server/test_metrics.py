"""Counting: what a request, a stream and an adapter event leave in the registry."""

from collections.abc import AsyncGenerator

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from veneer_server.metrics import Metrics


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
    return metrics.registry.get_sample_value(sample, labels)


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


async def frames(clock: Clock) -> AsyncGenerator[bytes]:
    for number in range(3):
        clock.now_s += 0.25
        yield b"data: %d\n\n" % number


async def test_a_streams_first_event_is_its_first_token(metrics: Metrics, clock: Clock) -> None:
    with metrics.request("chat", "pirate") as seen:
        found = [frame async for frame in seen.watch(frames(clock))]
    assert len(found) == 3
    name = "veneer_time_to_first_token_seconds"
    assert value(metrics, f"{name}_sum", adapter="pirate") == 0.25
    assert value(metrics, f"{name}_count", adapter="pirate") == 1
    assert finished(metrics, "completed") == 1


async def test_a_stream_left_early_was_cancelled(metrics: Metrics, clock: Clock) -> None:
    with metrics.request("chat", "pirate") as seen:
        watched = seen.watch(frames(clock))
        await anext(watched)
        await watched.aclose()
    assert finished(metrics, "cancelled") == 1


def test_a_load_is_counted_by_outcome_and_by_where_it_came_from(metrics: Metrics) -> None:
    metrics.on_event("load_started", "pirate", origin="disk")
    metrics.on_event("load_finished", "pirate", origin="disk", outcome="loaded", seconds=0.5)
    metrics.on_event("load_finished", "pirate", origin="host", outcome="failed", seconds=0.1)
    loads = "veneer_adapter_loads_total"
    assert value(metrics, loads, outcome="loaded", source="disk") == 1
    assert value(metrics, loads, outcome="failed", source="host") == 1
    assert value(metrics, "veneer_adapter_load_seconds_sum", stage="load") == 0.5
    assert value(metrics, "veneer_adapter_load_seconds_sum", stage="activate") == 0.1


def test_evictions_and_cold_starts_are_counted(metrics: Metrics) -> None:
    metrics.on_event("evicted", "pirate", level="device", reason="room")
    metrics.on_event("cold_start", "pirate", seconds=0.2)
    evicted = value(metrics, "veneer_adapter_evictions_total", level="device", reason="room")
    assert evicted == 1
    assert value(metrics, "veneer_adapter_cold_starts_total", adapter="pirate") == 1


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
    units = ("_seconds", "_bytes", "_total", "_info", "_in_flight", "_slots")
    families = text_string_to_metric_families(generate_latest(metrics.registry).decode())
    for family in families:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        if family.name.endswith("_created"):
            continue
        assert name.startswith("veneer_"), name
        assert name.endswith(units), name
