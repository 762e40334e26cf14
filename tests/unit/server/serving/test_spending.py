"""What a request may use is estimated from its body, and what it used is taken from the engine."""

from typing import Any

import pytest

from support.quotas import Clock
from unit.server.serving.test_watching import observation
from veneer_server.engine.base import Endpoint
from veneer_server.serving.spending import Spending, charge_of, cost_of
from veneer_server.tenancy.limits import Limits
from veneer_server.tenancy.principals import Principal
from veneer_server.tenancy.quotas.demands import Cost
from veneer_server.tenancy.quotas.memory import MemoryStore
from veneer_server.tenancy.quotas.quotas import Charge, Quotas

CONTEXT = 1000
WHO = Principal(key_id="k", limits=Limits(rpm=60, tpm=6000))


def chat(text: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"content": text}], **more}


@pytest.mark.parametrize(
    ("endpoint", "body", "cost"),
    [
        (Endpoint.CHAT, chat("x" * 40, max_tokens=7), Cost(10 + 7)),
        (Endpoint.CHAT, chat("x" * 41, max_completion_tokens=7), Cost(11 + 7)),
        (Endpoint.CHAT, chat("é" * 20, max_tokens=7), Cost(10 + 7)),
        (Endpoint.CHAT, chat("x" * 40, max_tokens=7, n=3), Cost(10 + 21)),
        (Endpoint.CHAT, chat("x" * 40), Cost(1000, is_open=True)),
        (Endpoint.CHAT, chat("x" * 40, n=2), Cost(10 + 2 * 995, is_open=True)),
        (Endpoint.CHAT, chat("x" * 99_000, max_tokens=7), Cost(1000 + 7)),
        (Endpoint.RESPONSES, {"input": "x" * 40, "max_output_tokens": 7}, Cost(17)),
        (Endpoint.MESSAGES, {**chat("x" * 40), "system": "y" * 8, "max_tokens": 7}, Cost(19)),
        (Endpoint.COMPLETIONS, {"prompt": "x" * 40}, Cost(10 + 16)),
        (Endpoint.COMPLETIONS, {"prompt": [1, 2, 3], "max_tokens": 5}, Cost(3 + 5)),
        (Endpoint.COMPLETIONS, {"prompt": ["xxxx", "yyyy"], "max_tokens": 5}, Cost(2 + 10)),
    ],
)
def test_the_most_that_a_body_may_use(endpoint: Endpoint, body: dict[str, Any], cost: Cost) -> None:
    assert cost_of(endpoint, body, CONTEXT)[0] == cost


@pytest.mark.parametrize(
    ("outcome", "usage", "charge"),
    [
        ("completed", (12, 5), Charge(1, 17)),
        ("failed", (12, 5), Charge(0, 0)),
        ("rejected", (0, 0), Charge(1, 0)),
        ("cancelled", (0, 5), Charge(1, 105)),
        ("cancelled", (12, 5), Charge(1, 17)),
    ],
)
def test_what_counts_of_a_request(outcome: str, usage: tuple[int, int], charge: Charge) -> None:
    seen = observation()
    seen.used(*usage)
    seen.outcome = outcome
    assert charge_of(seen, 100) == charge


def test_what_no_engine_has_seen_counts_for_nothing() -> None:
    assert charge_of(None, 100) == Charge(0, 0)


async def remaining(spending: Spending) -> list[str]:
    async with spending.request(WHO, Endpoint.CHAT, chat("", max_tokens=0)) as held:
        kinds = ("requests", "tokens")
        return [held.headers[f"x-ratelimit-remaining-{kind}"] for kind in kinds]


async def test_a_request_holds_the_estimate_and_leaves_what_it_used() -> None:
    spending = Spending(Quotas(MemoryStore(Clock())), CONTEXT)
    async with spending.request(WHO, Endpoint.CHAT, chat("x" * 400, max_tokens=300)) as held:
        assert await remaining(spending) == ["58", "5600"]
        held.seen = observation()
        held.seen.used(120, 30)
        held.seen.completed()
    assert await remaining(spending) == ["58", "5850"]


async def test_what_only_counts_tokens_takes_nothing() -> None:
    spending = Spending(Quotas(MemoryStore(Clock())), CONTEXT)
    async with spending.request(WHO, Endpoint.TOKENIZE, {"prompt": "x"}) as held:
        assert held.headers == {}
    assert await remaining(spending) == ["59", "6000"]
