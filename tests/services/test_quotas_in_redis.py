"""Limits that several servers share are counted by a real Redis as one server counts them."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest

from support.quotas import START_US, Clock, demand, redis, settled, tell_all
from support.serving import serve_echo
from veneer_server.tenancy.quotas.buckets import UNITS
from veneer_server.tenancy.quotas.demands import Demand, Kind
from veneer_server.tenancy.quotas.memory import MemoryStore
from veneer_server.tenancy.quotas.shared import HELD_S, SharedStore

pytestmark = pytest.mark.services

CHAT = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with redis() as found:
        yield found


class Settling(SharedStore):
    """A store whose clock is the test's, and that settles at once."""

    def __init__(self, url: str, name: str, clock: Clock) -> None:
        super().__init__(url, name)
        self._clock = clock

    def _now(self) -> str:
        return str(self._clock())

    async def settle(self, back: Sequence[Demand], ticket: str) -> None:
        await super().settle(back, ticket)
        await settled(self)


async def test_redis_tells_the_story_that_memory_tells(url: str) -> None:
    clock, same = Clock(), Clock()
    store = Settling(url, "story", clock)
    assert await tell_all(store, clock) == await tell_all(MemoryStore(same), same)
    await store.close()


async def test_redis_and_memory_agree_on_a_thousand_random_steps(url: str) -> None:
    clock, draw = Clock(), random.Random(3)  # noqa: S311 - to be repeated
    shared, memory = Settling(url, "random", clock), MemoryStore(clock)
    open_tickets: list[tuple[str, list[Demand]]] = []
    for step in range(1000):
        clock.now_us += draw.randrange(2_000_000)
        if open_tickets and draw.random() < 0.4:
            ticket, taken = open_tickets.pop(draw.randrange(len(open_tickets)))
            back = [d.giving_back(draw.randrange(0, d.cost + 1)) for d in taken[:2]] + taken[2:]
            await asyncio.gather(shared.settle(back, ticket), memory.settle(back, ticket))
            continue
        asked = [
            demand(Kind.REQUESTS, 37),
            demand(Kind.TOKENS, 99_999_999, draw.randrange(1, 9_000_000)),
            demand(Kind.CONCURRENCY, 5),
        ]
        told = await shared.take(asked, str(step))
        assert told == await memory.take(asked, str(step)), step
        if told.admitted:
            open_tickets.append((str(step), asked))
        clock.now_us += 1
        await shared.beat()
    await shared.close()


async def test_two_servers_that_ask_at_once_give_a_bucket_away_once(url: str) -> None:
    stores = [SharedStore(url, "both", now_us=START_US) for _ in range(2)]
    asked = [demand(Kind.REQUESTS, 60)]
    answers = await asyncio.gather(
        *(stores[i % 2].take(asked, str(i)) for i in range(200)), return_exceptions=True
    )
    admitted = [a for a in answers if not isinstance(a, BaseException) and a.admitted]
    assert not [a for a in answers if isinstance(a, BaseException)]
    assert len(admitted) == 60
    for store in stores:
        await store.close()


async def test_a_place_is_held_while_its_server_beats_and_is_free_when_it_is_dead(url: str) -> None:
    clock = Clock()
    alive, dead = Settling(url, "places", clock), Settling(url, "places", clock)
    asked = [demand(Kind.CONCURRENCY, 2)]
    assert (await alive.take(asked, "alive")).admitted
    assert (await dead.take(asked, "dead")).admitted
    clock.forward(HELD_S / 2)
    await alive.beat()
    assert not (await alive.take(asked, "third")).admitted
    clock.forward(HELD_S / 2 + 1)
    assert (await alive.take(asked, "third")).admitted
    assert not (await alive.take(asked, "fourth")).admitted
    await alive.close()
    await dead.close()


async def test_redis_counts_by_its_own_clock(url: str) -> None:
    store = SharedStore(url, "clock")
    [standing] = (await store.take([demand(Kind.REQUESTS, 60, 30)], "1")).standings
    assert standing.remaining == 30
    assert 29 * UNITS / 60 < standing.full_us <= 30 * UNITS / 60
    await store.close()


async def test_a_limit_outlives_its_server_and_without_redis_nobody_gets_past_it(
    tmp_path: Path,
) -> None:
    with redis() as url:
        tenants = {"server_rpm": 5, "server_concurrency": 3, "quota_url": url}
        sections = {"tenants": tenants}
        async with (
            serve_echo(tmp_path / "a", **sections) as a,
            httpx.AsyncClient(base_url=a.url, timeout=30) as client,
        ):
            statuses = [
                (await client.post("/v1/chat/completions", json=CHAT)).status_code for _ in range(7)
            ]
            assert statuses == [200] * 5 + [429] * 2
        async with (
            serve_echo(tmp_path / "a", **sections) as a,
            httpx.AsyncClient(base_url=a.url, timeout=30) as client,
        ):
            refused = await client.post("/v1/chat/completions", json=CHAT)
            assert refused.status_code == 429
            assert 1 <= int(refused.headers["retry-after"]) <= 60
    async with (
        serve_echo(tmp_path / "a", **sections) as a,
        httpx.AsyncClient(base_url=a.url, timeout=30) as client,
    ):
        away = await client.post("/v1/chat/completions", json=CHAT)
        assert (away.status_code, away.json()["error"]["code"]) == (503, "quotas_unavailable")
        assert away.headers["retry-after"]
        assert (await client.get("/v1/models")).status_code == 200
