"""Writes a row for each request, many at a time; no request waits for it.

What waits is in memory, so a crash loses what ended in the last second or two. While the database
is away the rows wait; beyond ``MOST_WAITING`` further ones are lost, and counted.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from itertools import islice

import structlog

from veneer_adapters.catalog.database import Database
from veneer_adapters.errors import AdapterUnavailable
from veneer_server.accounting import rows
from veneer_server.accounting.queries import Question, Sums
from veneer_server.accounting.records import UsageRecord

logger = structlog.get_logger(__name__)

MOST_WAITING = 50_000
"""Rows that wait for a database that is away."""
PAUSE_S = 1.0
"""How long rows wait for others, in seconds."""
_SWEEP_S = 3600.0
_DAY_S = 86400
_LAST_S = 5.0

Expiring = Callable[[int, int], AbstractAsyncContextManager[None]]
"""Gets how many rows will go, and from before which time, in seconds since the epoch."""


class Ledger:
    """The usage that one database keeps. For one event loop."""

    def __init__(
        self,
        database: Database,
        *,
        days: int,
        lost: Callable[[], None] = lambda: None,
        expiring: Expiring = lambda rows, before: nullcontext(),
        now: Callable[[], float] = time.time,
    ) -> None:
        """Keep the rows for so many ``days``; call ``lost`` for each that cannot be kept.

        The block of ``expiring`` is open while rows are removed because they are old.
        """
        self._database = database
        self._days = days
        self._lost = lost
        self._expiring = expiring
        self._now = now
        self._waiting: deque[UsageRecord] = deque()
        self._writing = asyncio.Lock()
        self._failing = False
        self._swept_s = float("-inf")

    def note(self, record: UsageRecord) -> None:
        """Have a row written soon. This never waits."""
        if len(self._waiting) >= MOST_WAITING:
            self._lost()
        else:
            self._waiting.append(record)

    @property
    def now(self) -> int:
        """The time that a row gets, in seconds since the epoch."""
        return int(self._now())

    async def run(self) -> None:
        """Write what waits, and remove what is old, until cancelled."""
        while True:
            await asyncio.sleep(PAUSE_S)
            await self._try()

    async def close(self) -> None:
        """Write what waits, if the database answers soon."""
        try:
            async with asyncio.timeout(_LAST_S):
                await self.flush()
        except (AdapterUnavailable, TimeoutError) as error:
            logger.warning("usage lost", rows=len(self._waiting), detail=str(error))

    async def flush(self) -> None:
        """Return when everything is written that was noted before.

        Raises:
            AdapterUnavailable: the database cannot be written; the rows go on waiting.
        """
        async with self._writing:
            while self._waiting:
                batch = list(islice(self._waiting, rows.BATCH))
                async with self._database.noting() as connection:
                    await rows.insert(connection, batch)
                for _ in batch:
                    self._waiting.popleft()

    async def sweep(self) -> None:
        """Remove the rows that are older than they may be."""
        before = self.now - self._days * _DAY_S
        async with self._database.reading() as connection:
            count = await rows.count_old(connection, before)
        if count:
            async with self._expiring(count, before):
                await self._remove(before)

    async def _remove(self, before: int) -> None:
        gone = rows.BATCH
        while gone == rows.BATCH:
            async with self._database.noting() as connection:
                gone = await rows.delete_old(connection, before)

    async def sums(self, question: Question) -> list[Sums]:
        """Return sums over all requests that have ended, those of other servers a second late.

        Raises:
            AdapterUnavailable: the database cannot be read.
        """
        await self.flush()
        async with self._database.reading() as connection:
            return await rows.sums(connection, question)

    async def _try(self) -> None:
        try:
            await self.flush()
            if time.monotonic() - self._swept_s > _SWEEP_S:
                await self.sweep()
                self._swept_s = time.monotonic()
        except AdapterUnavailable as error:
            if not self._failing:
                logger.warning("usage not written", detail=str(error))
            self._failing = True
        else:
            self._failing = False
