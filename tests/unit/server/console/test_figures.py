"""What the console reads out of the metrics."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from support.clock import Clock
from veneer_adapters.events import ColdStart
from veneer_server.console.figures.reading import Counts, between, quantile
from veneer_server.console.figures.recent import Recent
from veneer_server.telemetry.labels import MOST
from veneer_server.telemetry.metrics import Metrics

INF = float("inf")

QUANTILES = [
    ("nothing was observed", {}, None),
    ("nothing was observed yet", {0.1: 0.0, INF: 0.0}, None),
    ("all in the first bucket", {0.1: 100.0, 1.0: 100.0, INF: 100.0}, 0.095),
    ("half in the second one", {0.1: 50.0, 1.0: 100.0, INF: 100.0}, 0.91),
    ("above the largest bound", {0.1: 0.0, 1.0: 0.0, INF: 10.0}, 1.0),
]


@pytest.mark.parametrize(
    ("buckets", "expected"), [q[1:] for q in QUANTILES], ids=[q[0] for q in QUANTILES]
)
def test_a_quantile(buckets: dict[float, float], expected: float | None) -> None:
    found = quantile(buckets, 0.95)
    assert found == (expected if expected is None else pytest.approx(expected))


def test_what_happened_between_two_looks_leaves_out_what_happened_before() -> None:
    earlier = Counts(requests=10, failed=2, first_token={0.1: 0.0, 1.0: 10.0, INF: 10.0})
    later = Counts(requests=40, failed=3, first_token={0.1: 30.0, 1.0: 40.0, INF: 40.0})
    traffic = between(earlier, later, 10.0)
    assert traffic.requests_per_s == 3.0
    assert traffic.failed == 1
    assert traffic.first_token_p95_s == pytest.approx(0.095)
    assert traffic.gap_p95_s is None


def ask(metrics: Metrics, adapter: str) -> None:
    with metrics.request("chat", adapter) as seen:
        seen.token()
        seen.completed()


async def test_the_first_look_covers_the_time_since_the_start_and_later_ones_the_last_minute() -> (
    None
):
    clock, metrics = Clock(), Metrics(CollectorRegistry())
    recent = Recent(metrics, clock)
    ask(metrics, "pirate")
    clock.advance(100)
    first = await recent.look()
    assert (first.covers_s, first.whole().requests_per_s) == (100, 0.01)
    clock.advance(10)
    ask(metrics, "pirate")
    second = await recent.look()
    assert (second.covers_s, second.whole().requests_per_s) == (10, 0.1)
    clock.advance(3600)
    assert (await recent.look()).covers_s == pytest.approx(3710)


async def test_pages_that_are_asked_for_at_once_share_a_look() -> None:
    clock, metrics = Clock(), Metrics(CollectorRegistry())
    recent = Recent(metrics, clock)
    one, other = await asyncio.gather(recent.look(), recent.look())
    assert one.now is other.now
    clock.advance(2)
    assert (await recent.look()).now is not one.now


async def test_each_adapter_has_its_own_figures_as_long_as_it_has_a_label() -> None:
    metrics = Metrics(CollectorRegistry())
    recent = Recent(metrics)
    ask(metrics, "pirate")
    metrics.on_event(ColdStart("pirate", 0.1))
    lately = await recent.look()
    assert lately.now.by_adapter["pirate"].cold_starts == 1
    pirate, quiet = lately.of("pirate"), lately.of("quiet")
    assert pirate is not None
    assert pirate.first_token_p95_s is not None
    assert quiet is not None
    assert quiet.requests_per_s == 0


async def test_an_adapter_without_its_own_label_has_no_figures() -> None:
    metrics = Metrics(CollectorRegistry())
    for number in range(MOST + 1):
        ask(metrics, f"a{number}")
    lately = await Recent(metrics).look()
    assert lately.of("a0") is not None
    assert lately.of(f"a{MOST}") is None
