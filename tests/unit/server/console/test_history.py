"""The last hour of each adapter, and the curve that is drawn of it."""

from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry

from veneer_server.console.figures.history import STEP_S, STEPS, History
from veneer_server.console.figures.sparkline import HEIGHT, WIDTH, lines_of
from veneer_server.telemetry.metrics import Metrics


def clock() -> Iterator[float]:
    yield from (1000.0 + STEP_S * step for step in range(1000))


def taken(history: History) -> list[tuple[float, float, float | None]]:
    found = [(step.until_s, step.of("pirate")) for step in history.steps]
    return [(at_s, one.requests_per_s, one.first_token_p95_s) for at_s, one in found]


async def test_a_step_has_what_happened_in_it_and_nothing_of_who_was_quiet() -> None:
    ticks, metrics = clock(), Metrics(CollectorRegistry())
    history = History(metrics, now=lambda: next(ticks))
    await history.take()
    for _ in range(120):
        with metrics.request("chat", "pirate") as seen:
            seen.completed()
    await history.take()
    await history.take()
    assert [rate for _, rate, _ in taken(history)] == [0.0, 2.0, 0.0]
    assert [set(step.traffic) for step in history.steps] == [set(), {"pirate"}, set()]


async def test_an_hour_is_kept_and_no_more() -> None:
    ticks = clock()
    history = History(Metrics(CollectorRegistry()), now=lambda: next(ticks))
    for _ in range(STEPS + 5):
        await history.take()
    assert len(history.steps) == STEPS
    assert history.steps[-1].until_s == 1000.0 + 60.0 * (STEPS + 5)


@pytest.mark.parametrize(
    ("values", "lines"),
    [
        ([], []),
        ([None, None], []),
        ([0.0, 1.0], [f"2.0,{HEIGHT - 2}.0 {WIDTH - 2}.0,2.0"]),
        ([None, 5.0, None], [f"{WIDTH / 2},2.0 {WIDTH / 2 + 1},2.0"]),
        ([0.0, 0.0], [f"2.0,{HEIGHT - 2}.0 {WIDTH - 2}.0,{HEIGHT - 2}.0"]),
    ],
)
def test_a_curve_breaks_where_nothing_is_known(
    values: list[float | None], lines: list[str]
) -> None:
    assert lines_of(values) == lines


def test_two_stretches_are_two_lines_within_the_picture() -> None:
    found = lines_of([1.0, 2.0, None, 4.0, 3.0])
    assert len(found) == 2
    dots = [dot.split(",") for line in found for dot in line.split()]
    assert all(0 <= float(x) <= WIDTH and 0 <= float(y) <= HEIGHT for x, y in dots)
