"""The buckets of several servers, in Redis or Valkey: one script, which Redis runs alone.

What a request took is given back by a task of its own, so that no answer waits for it. A server
that dies gives nothing back: tokens and requests fill up again within a minute, and its places
among those at the same time are free after ``HELD_S``.
"""

import asyncio
from collections.abc import Iterable, Sequence
from importlib.resources import files

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from veneer_server.tenancy.errors import QuotasUnavailable
from veneer_server.tenancy.quotas.buckets import Standing
from veneer_server.tenancy.quotas.demands import Demand, Kind
from veneer_server.tenancy.quotas.stores import Answer

logger = structlog.get_logger(__name__)

HELD_S = 60.0
"""How long a place among those at the same time is held without a beat, in seconds."""
_BEAT_S = HELD_S / 4
_TIMEOUT_S = 1.0
_CONNECTIONS = 32
_MOST_WAITING = 10_000
"""Settlements that wait for a Redis that is away; what comes then is not given back."""
_SCRIPT = files(__package__).joinpath("buckets.lua").read_text(encoding="utf-8")

_Settlement = tuple[Sequence[Demand], str]


class SharedStore:
    """A ``QuotaStore`` that all servers with the same ``url`` and ``name`` share."""

    def __init__(self, url: str, name: str, *, now_us: int | None = None) -> None:
        """``now_us`` takes the place of Redis's clock."""
        self._redis = Redis.from_pool(_pool(url))
        self._script = self._redis.register_script(_SCRIPT)
        self._prefix = f"{{veneer:{name}}}"  # the braces keep all keys on one node of a cluster
        self._waiting: asyncio.Queue[_Settlement] = asyncio.Queue(_MOST_WAITING)
        self._places: dict[tuple[str, str], Demand] = {}
        self._failing = False
        self.now_us = now_us

    async def take(self, demands: Sequence[Demand], ticket: str) -> Answer:
        """Take everything, or nothing; see ``QuotaStore``.

        Whoever is cancelled meanwhile may have taken it: that is given back by time alone.
        """
        try:
            told = await self._run("take", demands, ticket)
        except (RedisError, OSError, TimeoutError) as error:
            raise QuotasUnavailable(
                "The limits of your key cannot be looked up at this moment. Try again soon."
            ) from error
        admitted, *numbers = map(int, told)
        if admitted:
            self._hold(demands, ticket)
        thirds = zip(*[iter(numbers)] * 3, strict=True)
        return Answer(tuple(Standing(*third) for third in thirds), bool(admitted))

    async def settle(self, back: Sequence[Demand], ticket: str) -> None:
        """Give back what was taken and not used, soon; see ``QuotaStore``."""
        for demand in back:
            self._places.pop((demand.holder.id, ticket), None)
        try:
            self._waiting.put_nowait((back, ticket))
        except asyncio.QueueFull:
            self._note(RuntimeError("too many settlements wait"))

    async def run(self) -> None:
        """Settle, and hold the places of requests that go on, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._settle_all())
            tasks.create_task(self._beat_always())

    async def close(self) -> None:
        """Settle what waits, if Redis answers, and end every connection."""
        while not self._waiting.empty() and not self._failing:
            await self._settle_once(self._waiting.get_nowait())
        await self._redis.aclose()

    async def _settle_all(self) -> None:
        while True:
            await self._settle_once(await self._waiting.get())

    async def _settle_once(self, settlement: _Settlement) -> None:
        back, ticket = settlement
        try:
            await self._run("settle", back, ticket)
            self._failing = False
        except (RedisError, OSError, TimeoutError) as error:
            # Whether it was done nobody knows; to do it twice would give back too much.
            self._note(error)

    async def _beat_always(self) -> None:
        while True:
            await asyncio.sleep(_BEAT_S)
            await self.beat()

    async def beat(self) -> None:
        """Go on holding the places of all requests that have not ended."""
        places = list(self._places)
        if not places:
            return
        keys = [self._key(self._places[place]) for place in places]
        rows = [text for _, ticket in places for text in (ticket, "0", "0")]
        try:
            await self._script(keys=keys, args=["beat", self._now(), "", _us(HELD_S), *rows])
        except (RedisError, OSError, TimeoutError) as error:
            self._note(error)

    async def _run(self, mode: str, demands: Sequence[Demand], ticket: str) -> list[bytes]:
        rows = [text for d in demands for text in (str(d.kind), str(d.limit), str(d.cost))]
        head = [mode, self._now(), ticket, _us(HELD_S)]
        told: list[bytes] = await self._script(keys=self._keys(demands), args=[*head, *rows])
        return told

    def _hold(self, demands: Iterable[Demand], ticket: str) -> None:
        for demand in demands:
            if demand.kind is Kind.CONCURRENCY:
                self._places[demand.holder.id, ticket] = demand

    def _keys(self, demands: Iterable[Demand]) -> list[str]:
        return [self._key(demand) for demand in demands]

    def _key(self, demand: Demand) -> str:
        return f"{self._prefix}:{demand.holder.id}:{demand.kind}"

    def _now(self) -> str:
        return "" if self.now_us is None else str(self.now_us)

    def _note(self, error: Exception) -> None:
        if not self._failing:
            logger.warning("limits not settled", detail=str(error) or type(error).__name__)
        self._failing = True


def _pool(url: str) -> BlockingConnectionPool:
    return BlockingConnectionPool.from_url(
        url,
        max_connections=_CONNECTIONS,
        timeout=_TIMEOUT_S,
        socket_timeout=_TIMEOUT_S,
        socket_connect_timeout=_TIMEOUT_S,
        health_check_interval=_BEAT_S,
        # What is sent twice may count twice.
        retry=Retry(NoBackoff(), 0),
    )


def _us(seconds: float) -> str:
    return str(round(seconds * 1e6))
