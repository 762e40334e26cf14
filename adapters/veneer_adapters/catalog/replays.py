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
from sqlalchemy.exc import IntegrityError

from veneer_adapters.catalog.database import Database
from veneer_adapters.catalog.tables import answers
from veneer_adapters.errors import StorageFailed

KEPT_S = 24 * 3600
"""How long an answer is repeated."""
_UNKNOWN = 0


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer that is given again to the same request."""

    request: str
    """A digest of the request it was given to."""
    status: int
    body: str

    @property
    def is_known(self) -> bool:
        """Whether there is an answer: its server may have died, or still be at it."""
        return self.status != _UNKNOWN


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

    async def begin(self, key: str, request: str) -> Answered | None:
        """Note that ``key`` is acted on now and return None, or return what is known of it.

        What a server noted and never answered, because it died, is known without an answer.

        Raises:
            StorageFailed: nothing was noted.
        """
        now = int(self._now())
        row = {"key": key, "request": request, "status": _UNKNOWN, "body": "", "created": now}
        try:
            async with self._database.noting() as connection:
                stale = sa.delete(answers).where(answers.c.created <= now - KEPT_S)
                await connection.execute(stale)
                asked = sa.select(answers.c.request, answers.c.status, answers.c.body)
                found = (await connection.execute(asked.where(answers.c.key == key))).first()
                if found is None:
                    await connection.execute(sa.insert(answers), row)
        except StorageFailed as error:
            if isinstance(error.__cause__, IntegrityError):
                return Answered(request, _UNKNOWN, "")  # another server was faster
            raise
        return Answered(*found) if found else None

    async def finish(self, key: str, status: int, body: str) -> None:
        """Remember what was answered to ``key``; raises StorageFailed."""
        change = sa.update(answers).where(answers.c.key == key)
        async with self._database.noting() as connection:
            await connection.execute(change.values(status=status, body=body))

    async def forget(self, key: str) -> None:
        """Let ``key`` be acted on again: nothing happened; raises StorageFailed."""
        async with self._database.noting() as connection:
            await connection.execute(sa.delete(answers).where(answers.c.key == key))
