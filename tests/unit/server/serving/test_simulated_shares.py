"""Thousands of simulated arrivals: what fair shares give to whom, beside first come, first served.

The simulated engine has a few places, and an answer takes as many ticks as it has tokens. Nothing
here has a clock of its own, so every run is the same.
"""

import heapq
import random
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import quantiles

from veneer_server.serving.fairness import Ask, FairQueue

PLACES = 8


@dataclass(frozen=True)
class Arrival:
    at: int
    tenant: str
    flow: str
    tokens: int


@dataclass
class Result:
    waits: dict[str, list[int]]
    ended_at: int

    def p95(self, tenant: str) -> float:
        return quantiles(self.waits[tenant], n=20)[-1]


def crowd(count: int) -> Iterator[Arrival]:
    """One tenant that sends ten times as much as the engine can do, over four adapters."""
    chance = random.Random(7)  # noqa: S311 - no secret
    for number in range(count):
        yield Arrival(number * 2, "crowd", f"a{number % 4}", chance.randint(50, 250))


def quiet(count: int) -> Iterator[Arrival]:
    """One tenant that sends one request now and then."""
    chance = random.Random(8)  # noqa: S311 - no secret
    for number in range(count):
        yield Arrival(number * 150, "quiet", "b", chance.randint(50, 150))


class InOrder:
    """First come, first served, with the same methods."""

    def __init__(self) -> None:
        self._waiting: deque[object] = deque()

    def push(self, ask: Ask) -> object:
        self._waiting.append(ticket := object())
        return ticket

    def take(self, may: Callable[[object], bool]) -> object | None:
        return self._waiting.popleft() if self._waiting else None

    def end(self, ticket: object, tokens: int) -> None:
        pass


def simulate(queue: FairQueue | InOrder, arrivals: list[Arrival]) -> Result:
    arrivals = sorted(arrivals, key=lambda arrival: arrival.at)
    running: list[tuple[int, int, object, Arrival]] = []
    of: dict[object, Arrival] = {}
    waits: dict[str, list[int]] = defaultdict(list)
    now, coming = 0, 0
    while coming < len(arrivals) or running:
        nexts = [arrivals[coming].at] if coming < len(arrivals) else []
        now = min([*nexts, running[0][0]] if running else nexts)
        while running and running[0][0] <= now:
            _, _, ticket, ended = heapq.heappop(running)
            queue.end(ticket, ended.tokens)  # type: ignore[arg-type]
        while coming < len(arrivals) and arrivals[coming].at <= now:
            one = arrivals[coming]
            of[queue.push(Ask(one.tenant, one.flow))] = one
            coming += 1
        while len(running) < PLACES and (taken := queue.take(lambda ticket: True)) is not None:
            begun = of[taken]
            waits[begun.tenant].append(now - begun.at)
            heapq.heappush(running, (now + begun.tokens, id(taken), taken, begun))
    return Result(waits, now)


def test_a_crowd_delays_others_by_no_more_than_one_answer() -> None:
    arrivals = [*crowd(4000), *quiet(50)]
    fair, in_order = simulate(FairQueue(), arrivals), simulate(InOrder(), arrivals)
    assert fair.p95("quiet") <= 250, "the longest answer that was under way"
    assert in_order.p95("quiet") > 10_000


def test_fair_shares_leave_no_place_empty() -> None:
    arrivals = [*crowd(4000), *quiet(50)]
    fair, in_order = simulate(FairQueue(), arrivals), simulate(InOrder(), arrivals)
    assert abs(fair.ended_at - in_order.ended_at) <= 0.01 * in_order.ended_at


def test_alone_a_tenant_is_served_as_if_there_were_no_shares() -> None:
    arrivals = [Arrival(one.at, "only", "a", one.tokens) for one in crowd(1000)]
    assert simulate(FairQueue(), arrivals).waits == simulate(InOrder(), arrivals).waits
