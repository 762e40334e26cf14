"""The rows of one kind of work in one database: found, claimed by a server, and removed."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from veneer_adapters.catalog.database import Database
from veneer_adapters.errors import AdapterUnavailable
from veneer_adapters.threads import to_its_end
from veneer_server.worklist.statements import BATCH, Statements

T = TypeVar("T")


class KeptWork(Generic[T]):
    """One kind of work in one database.

    Every method raises what ``unavailable`` returns when the database cannot be read or written. A
    write that has begun ends, also when its caller is cancelled: a transaction that is cut off
    would keep the others of SQLite waiting, and nobody would know whether it was committed.
    """

    def __init__(
        self,
        database: Database,
        statements: Statements[T],
        unavailable: Callable[[], Exception],
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Keep rows in ``database``, with ``statements``."""
        self._database = database
        self._statements = statements
        self._unavailable = unavailable
        self._now = now

    @property
    def now(self) -> int:
        """The time, in seconds since the epoch."""
        return int(self._now())

    @property
    def shared(self) -> bool:
        """Whether other servers may use the same database."""
        return self._database.shared

    async def look(self, id_: str) -> T | None:
        """Return the work, whoever's it is."""
        async with self._reading() as connection:
            return await self._statements.find(connection, id_)

    async def unfinished(self) -> list[T]:
        """Return all work that has not ended, the oldest first."""
        async with self._reading() as connection:
            return await self._statements.unfinished(connection)

    async def claim(self, id_: str, runner: str, *, silent_s: int) -> bool:
        """Return whether ``runner`` may work on it: no other one was heard of lately.

        To claim it again says that the runner lives.
        """
        return await to_its_end(self._claim(id_, runner, silent_s))

    async def _claim(self, id_: str, runner: str, silent_s: int) -> bool:
        now = self.now
        async with self._writing() as (connection, _):
            return await self._statements.claim(
                connection, id_, runner, now=now, silent=now - silent_s
            )

    async def delete_old(self, days: int) -> None:
        """Remove what is known of work that ended and was made so many days ago."""
        before, gone = self.now - days * 24 * 3600, BATCH
        while gone == BATCH:
            gone = await to_its_end(self._delete_old(before))

    async def _delete_old(self, before: int) -> int:
        async with self._writing() as (connection, _):
            return await self._statements.delete_old(connection, before)

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[tuple[AsyncConnection, int]]:
        async with self._told(), self._database.writing() as given:
            yield given

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        async with self._told(), self._database.reading() as connection:
            yield connection

    @asynccontextmanager
    async def _told(self) -> AsyncIterator[None]:
        try:
            yield
        except AdapterUnavailable as error:
            raise self._unavailable() from error
