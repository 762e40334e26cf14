"""The outcome of each request that carries a key, so that a request that is sent twice acts once.

Source of the contract: https://docs.stripe.com/api/idempotent_requests
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from veneer_adapters.catalog.database import Database
from veneer_adapters.catalog.tables import replays
from veneer_adapters.errors import StorageFailed

KEPT_S = 24 * 3600
"""How long an outcome is kept and repeated, in seconds."""


@dataclass(frozen=True, slots=True)
class Replay:
    """What is known of an earlier request with the same key."""

    request: str
    """A digest of the request."""
    outcome: str | None
    """The text that ``finish`` got; None while a server acts on the request, or after it died
    there."""


class Replays:
    """The outcomes of the last 24 hours, by key."""

    def __init__(self, database: Database, *, now: Callable[[], float] = time.time) -> None:
        self._database = database
        self._now = now
        self._turns: dict[str, asyncio.Lock] = {}
        self._asking: Counter[str] = Counter()

    @asynccontextmanager
    async def turn(self, key: str) -> AsyncIterator[None]:
        """Let only one request with ``key`` act at a time, in this process."""
        self._asking[key] += 1
        try:
            async with self._turns.setdefault(key, asyncio.Lock()):
                yield
        finally:
            self._asking[key] -= 1
            if not self._asking[key]:
                del self._asking[key], self._turns[key]

    async def begin(self, key: str, request: str) -> Replay | None:
        """Note that a request with ``key`` acts now and return None, or return what is known of it.

        Raises:
            StorageFailed: nothing was noted.
        """
        now = int(self._now())
        row = {"key": key, "request": request, "outcome": None, "created": now}
        try:
            async with self._database.noting() as connection:
                stale = sa.delete(replays).where(replays.c.created <= now - KEPT_S)
                await connection.execute(stale)
                asked = sa.select(replays.c.request, replays.c.outcome)
                found = (await connection.execute(asked.where(replays.c.key == key))).first()
                if found is None:
                    await connection.execute(sa.insert(replays), row)
        except StorageFailed as error:
            if isinstance(error.__cause__, IntegrityError):
                return Replay(request, None)  # another server noted the key first
            raise
        return Replay(*found) if found else None

    async def finish(self, key: str, outcome: str) -> None:
        """Keep ``outcome`` as the outcome of the request with ``key``; raises StorageFailed."""
        change = sa.update(replays).where(replays.c.key == key)
        async with self._database.noting() as connection:
            await connection.execute(change.values(outcome=outcome))

    async def forget(self, key: str) -> None:
        """Let a request with ``key`` act again, because nothing happened; raises StorageFailed."""
        async with self._database.noting() as connection:
            await connection.execute(sa.delete(replays).where(replays.c.key == key))
