"""Ten workers against a limit get exactly what it gives, and what failed counts for nothing."""

import random
from contextlib import AsyncExitStack

import pytest

from support.quotas import Clock
from veneer_server.tenancy.errors import QuotaExceeded, RateLimited, TokensLimited
from veneer_server.tenancy.limits import Limits
from veneer_server.tenancy.principals import Principal
from veneer_server.tenancy.quotas.demands import Cost
from veneer_server.tenancy.quotas.memory import MemoryStore
from veneer_server.tenancy.quotas.quotas import Charge, Quotas

KEY = Principal(tenant="acme", key_id="k1", limits=Limits(rpm=60, tpm=6000))
MINUTES = 5


def quotas(clock: Clock, **limits: Limits) -> Quotas:
    tenant = limits.get("tenant", Limits())
    everybody = limits.get("everybody", Limits())
    return Quotas(MemoryStore(clock), of_everybody=lambda: everybody, of_tenant=lambda _: tenant)


async def use(limited: Quotas, who: Principal, cost: int, charge: Charge | None = None) -> None:
    async with limited.reserve(limited.limits(who), Cost(cost)) as held:
        held.charge = charge or Charge(1, cost)


@pytest.mark.slow
async def test_ten_workers_get_sixty_requests_a_minute_to_the_request() -> None:
    clock = Clock()
    limited = quotas(clock)
    admitted = 0
    for _ in range(MINUTES * 60 * 10):  # each of ten workers asks ten times a second
        for _worker in range(10):
            try:
                await use(limited, KEY, 10)
                admitted += 1
            except RateLimited:
                pass
        clock.forward(0.1)
    # A full bucket at the beginning, and one each second; the last one comes with the end.
    assert admitted == 60 + MINUTES * 60 - 1


async def test_ten_workers_get_six_thousand_tokens_a_minute_and_failures_count_for_nothing() -> (
    None
):
    clock, draw = Clock(), random.Random(7)  # noqa: S311 - to be repeated
    limited = quotas(clock)
    who = Principal(key_id="k1", limits=Limits(tpm=6000))
    used = refused = failed = 0
    for _ in range(MINUTES * 60 * 10):
        for _worker in range(10):
            tokens = draw.randrange(50, 200)
            fails = draw.random() < 0.1
            really = 0 if fails else draw.randrange(10, tokens)
            try:
                await use(limited, who, tokens, Charge(0 if fails else 1, really))
                used, failed = used + really, failed + fails
            except TokensLimited:
                refused += 1
        clock.forward(0.1)
    most = 6000 + MINUTES * 6000
    assert most - 200 < used <= most
    assert refused > 0
    assert failed > 0


async def test_a_request_that_one_limit_refuses_takes_nothing_from_the_others() -> None:
    clock = Clock()
    limited = quotas(clock, tenant=Limits(rpm=2), everybody=Limits(rpm=100))
    other = Principal(tenant="acme", key_id="k2")
    await use(limited, KEY, 1)
    await use(limited, other, 1)
    with pytest.raises(RateLimited, match="the tenant acme") as refused:
        await use(limited, KEY, 1)
    assert refused.value.retry_after_s == 30.0
    assert refused.value.headers["x-ratelimit-remaining-requests"] == "0"
    stranger = Principal(tenant=None, key_id="k3", limits=Limits(rpm=98))
    async with limited.reserve(limited.limits(stranger), Cost(1)) as held:
        assert held.headers["x-ratelimit-remaining-requests"] == "97"


async def test_as_many_run_at_the_same_time_as_may_and_an_end_makes_room() -> None:
    limited = quotas(Clock())
    who = Principal(key_id="k1", limits=Limits(concurrency=2))
    async with AsyncExitStack() as running:
        for _ in range(2):
            await running.enter_async_context(limited.reserve(limited.limits(who), Cost(1)))
        with pytest.raises(RateLimited, match="at the same time: limit 2"):
            await use(limited, who, 1)
    await use(limited, who, 1)


async def test_what_alone_is_larger_than_a_limit_is_never_asked_to_try_again() -> None:
    with pytest.raises(QuotaExceeded, match="requested 6001"):
        await use(quotas(Clock()), KEY, 6001)


async def test_who_does_not_say_how_much_they_write_takes_what_there_is_and_gets_it_back() -> None:
    limited = quotas(Clock())
    for _ in range(3):
        async with limited.reserve(limited.limits(KEY), Cost(8192, is_open=True)) as held:
            with pytest.raises(TokensLimited):
                await use(limited, KEY, 1)
            held.charge = Charge(1, 0)
    async with limited.reserve(limited.limits(KEY), Cost(0)) as held:
        assert held.headers["x-ratelimit-remaining-tokens"] == "6000"


async def test_what_ends_in_an_error_is_given_back() -> None:
    limited = quotas(Clock())
    with pytest.raises(ZeroDivisionError):
        async with limited.reserve(limited.limits(KEY), Cost(100)):
            raise ZeroDivisionError
    async with limited.reserve(limited.limits(KEY), Cost(0)) as held:
        assert held.headers["x-ratelimit-remaining-requests"] == "59"
        assert held.headers["x-ratelimit-remaining-tokens"] == "6000"


def test_without_limits_there_is_nothing_to_look_up() -> None:
    assert quotas(Clock()).limits(Principal(tenant="acme", key_id="k1")) == []
