"""What was answered to each idempotency key, so that a request sent twice acts once.

Source of the contract: https://docs.stripe.com/api/idempotent_requests
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import sqlalchemy as sa

from veneer_adapters.catalog.database import Database
from veneer_adapters.catalog.tables import answers

KEPT_S = 24 * 3600
"""How long an answer is repeated."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer that is given again to the same request."""

    request: str
    """A digest of the request it was given to."""
    status: int
    body: str


class Answers:
    """The answers of the last 24 hours, by key."""

    def __init__(self, database: Database, *, now: Callable[[], float] = time.time) -> None:
        self._database = database
        self._now = now
        self._turns: dict[str, asyncio.Lock] = {}
        self._asking: Counter[str] = Counter()

    @asynccontextmanager
    async def turn(self, key: str) -> AsyncIterator[None]:
        """Let one request with ``key`` act at a time, in this process."""
        self._asking[key] += 1
        try:
            async with self._turns.setdefault(key, asyncio.Lock()):
                yield
        finally:
            self._asking[key] -= 1
            if not self._asking[key]:
                del self._asking[key], self._turns[key]

    async def find(self, key: str) -> Answered | None:
        """Return what was answered to ``key``, or None; raises StorageFailed."""
        asked = sa.select(answers.c.request, answers.c.status, answers.c.body).where(
            answers.c.key == key, answers.c.created > self._now() - KEPT_S
        )
        async with self._database.reading() as connection:
            found = (await connection.execute(asked)).first()
        return Answered(*found) if found else None

    async def keep(self, key: str, answered: Answered) -> None:
        """Remember ``answered`` for ``key``, and forget what is too old; raises StorageFailed."""
        now = int(self._now())
        row = {"key": key, "created": now, "request": answered.request}
        stale = sa.or_(answers.c.created <= now - KEPT_S, answers.c.key == key)
        async with self._database.noting() as connection:
            await connection.execute(sa.delete(answers).where(stale))
            await connection.execute(
                sa.insert(answers), row | {"status": answered.status, "body": answered.body}
            )
