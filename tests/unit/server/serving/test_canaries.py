"""What is seen of a request through a guarded alias, and of all others: nothing."""

import asyncio
from collections.abc import Iterator
from typing import Any, cast

import pytest

from support import builders
from veneer_adapters.canaries.guarding import Guarding
from veneer_adapters.canaries.tally import Ending
from veneer_adapters.catalog.alias import Alias, Guard, Target
from veneer_server.engine.base import NO_WEIGHTS, Endpoint
from veneer_server.serving.canaries.trials import Canaries
from veneer_server.serving.resolving import Resolved
from veneer_server.telemetry.observation import Observation

ALIAS = Alias("live", (Target(1), Target(2)), guard=Guard(1, 0.0))
THROUGH = Resolved("a", builders.revision(number=2), ALIAS)
JSON = {"response_format": {"type": "json_object"}}
GOOD: dict[str, Any] = {"choices": [{"message": {"content": "{}"}, "finish_reason": "stop"}]}


class Counting:
    """Stands in for a ``Guarding`` and remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int, Ending]] = []

    def count(self, adapter: str, alias: Alias, revision: int, ending: Ending) -> None:
        assert alias is ALIAS
        self.told.append((adapter, revision, ending))


@pytest.fixture
def counting() -> Counting:
    return Counting()


@pytest.fixture
def canaries(counting: Counting) -> Iterator[Canaries]:
    canaries = Canaries(cast(Guarding, counting))
    yield canaries
    canaries.close()


def ended(outcome: str) -> Observation:
    seen = Observation(0.0, lambda: 0.0, first=float, next_=float)
    seen.outcome = outcome
    return seen


@pytest.mark.parametrize(
    ("outcome", "counts"),
    [
        ("completed", [("a", 2, Ending.ANSWERED)]),
        ("failed", [("a", 2, Ending.FAILED)]),
        ("rejected", []),
        ("cancelled", []),
    ],
)
def test_answers_and_failures_count_and_what_the_client_did_does_not(
    canaries: Canaries, counting: Counting, outcome: str, counts: list[Any]
) -> None:
    canaries.trial(THROUGH, Endpoint.CHAT, {}).ended(ended(outcome))
    assert counting.told == counts


@pytest.mark.parametrize("outcome", ["failed", "rejected", "cancelled"])
def test_a_structured_answer_is_judged_only_when_it_is_complete(
    canaries: Canaries, counting: Counting, outcome: str
) -> None:
    trial = canaries.trial(THROUGH, Endpoint.CHAT, JSON)
    trial.document(GOOD)
    trial.ended(ended(outcome))
    assert Ending.KEPT not in {ending for _, _, ending in counting.told}


@pytest.mark.parametrize(
    ("resolved", "endpoint"),
    [
        (Resolved("echo", None), Endpoint.CHAT),
        (Resolved("a", builders.revision()), Endpoint.CHAT),
        *((THROUGH, endpoint) for endpoint in sorted(NO_WEIGHTS)),
    ],
)
async def test_a_request_no_guard_cares_about_is_left_alone(
    canaries: Canaries, counting: Counting, resolved: Resolved, endpoint: Endpoint
) -> None:
    trial = canaries.trial(resolved, endpoint, JSON)
    trial.frame(b"data: [DONE]\n\n")
    trial.document(GOOD)
    trial.ended(ended("failed"))
    assert counting.told == []


async def test_beyond_a_hundred_that_wait_answers_are_not_judged(
    canaries: Canaries, counting: Counting
) -> None:
    go = asyncio.Event()
    loop = asyncio.get_running_loop()
    blocked = loop.run_in_executor(
        canaries._judge, lambda: asyncio.run_coroutine_threadsafe(go.wait(), loop).result(10)
    )
    for _ in range(103):
        trial = canaries.trial(THROUGH, Endpoint.CHAT, JSON)
        trial.document(GOOD)
        trial.ended(ended("completed"))
    assert [ending for _, _, ending in counting.told] == [Ending.ANSWERED] * 3
    go.set()
    await blocked
    async with asyncio.timeout(5):
        while len(counting.told) < 103:
            await asyncio.sleep(0.01)
    assert counting.told[3:] == [("a", 2, Ending.KEPT)] * 100
