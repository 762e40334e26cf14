"""Responses and conversations in the server's database. Each method is one transaction.

In SQLite the writers of this process take turns here, because those that wait inside of SQLite
poll for the lock, and some would wait for too long.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from veneer_adapters.catalog.database import Database
from veneer_adapters.errors import AdapterUnavailable
from veneer_server.conversations.errors import StateUnavailable
from veneer_server.conversations.records import Conversation, Item, StoredResponse
from veneer_server.conversations.sql import conversation_rows, item_rows, response_rows
from veneer_server.conversations.sql.batching import Batching

_DOUBT_S = 5.0


@dataclass(frozen=True, slots=True)
class _New:
    record: StoredResponse
    conversation: str | None
    keep: bool


class Store:
    """What is kept, for one server; several may share the database."""

    def __init__(
        self,
        database: Database,
        *,
        ttl_s: int,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep everything for ``ttl_s`` seconds."""
        self._database = database
        self._ttl_s = ttl_s
        self._now = now
        self._clock = clock
        self._turn = asyncio.Lock()
        self._failed_at = -_DOUBT_S
        self._batching = Batching(self._add_all)
        self.written = 0
        """How many bytes of responses were added since the start."""

    @property
    def now(self) -> int:
        """Return the time, in seconds since the epoch."""
        return int(self._now())

    @property
    def shared(self) -> bool:
        """Whether other servers may use the same database."""
        return self._database.shared

    def require_writable(self) -> None:
        """Return unless the last write failed a moment ago.

        Raises:
            StateUnavailable: it did, so what is written now would most likely be lost too.
        """
        if self._clock() - self._failed_at < _DOUBT_S:
            raise StateUnavailable("The server cannot store responses now. Try again later.")

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection and commit at the end; raises StateUnavailable."""
        try:
            if self.shared:
                async with self._database.noting() as connection:
                    yield connection
            else:
                async with self._turn, self._database.noting() as connection:
                    yield connection
        except AdapterUnavailable as error:
            self._failed_at = self._clock()
            raise StateUnavailable(
                "The server could not write what it keeps. Try again later."
            ) from error
        self._failed_at = -_DOUBT_S

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection whose queries see one state; raises StateUnavailable."""
        try:
            async with self._database.reading() as connection:
                yield connection
        except AdapterUnavailable as error:
            raise StateUnavailable(
                "The server could not read what it keeps. Try again later."
            ) from error

    async def add(
        self,
        record: StoredResponse,
        *,
        conversation: str | None = None,
        keep: bool = True,
    ) -> None:
        """Keep a response, and add its turn to its conversation, both or neither."""
        await self._batching.put(_New(record, conversation, keep))

    async def _add_all(self, new: Sequence["_New"]) -> None:
        now, size = self.now, 0
        async with self.writing() as connection:
            if kept := [each.record for each in new if each.keep]:
                expires = now + self._ttl_s
                size = await response_rows.insert(connection, kept, now=now, expires=expires)
            for each in new:
                if each.conversation is not None and each.record.finished:
                    await self._append(connection, each.conversation, each.record)
        self.written += size

    async def settle(
        self, record: StoredResponse, document: Mapping[str, Any], conversation: str | None = None
    ) -> bool:
        """Give an unfinished response a new state; return False when it is finished or gone."""
        async with self.writing() as connection:
            status = str(document["status"])
            if not await response_rows.settle(connection, record.id, status, document):
                return False
            ended = StoredResponse(
                record.id, record.owner, status, record.context, record.input, dict(document)
            )
            if conversation is not None and ended.finished:
                await self._append(connection, conversation, ended)
        return True

    async def _append(
        self, connection: AsyncConnection, conversation: str, record: StoredResponse
    ) -> None:
        # A conversation that was deleted meanwhile gets nothing, and that is what was asked for.
        items = [*record.input, *record.document["output"]]
        expires = self.now + self._ttl_s
        await conversation_rows.append(connection, conversation, items, expires=expires)

    async def delete(self, owner: str, response_id: str) -> bool:
        """Remove a response of ``owner``; return False when there is none."""
        async with self.writing() as connection:
            return await response_rows.delete(connection, owner, response_id, now=self.now)

    async def response(self, owner: str, response_id: str) -> StoredResponse | None:
        """Return a response of ``owner``, None when there is none."""
        async with self.reading() as connection:
            return await response_rows.find(connection, owner, response_id, now=self.now)

    async def items(self, owner: str, ids: Collection[str]) -> dict[str, Item]:
        """Return those of the items that a response or conversation of ``owner`` has."""
        async with self.reading() as connection:
            found = await item_rows.find_items(connection, owner, ids, now=self.now)
            return found | await response_rows.find_items(connection, owner, ids, now=self.now)

    async def conversation(
        self, owner: str, conversation_id: str
    ) -> tuple[Conversation, list[Item]] | None:
        """Return a conversation of ``owner`` with its items, None when there is none."""
        async with self.reading() as connection:
            found = await conversation_rows.find(connection, owner, conversation_id, now=self.now)
            if found is None:
                return None
            return found, await item_rows.all_items(connection, found.id)

    async def append(self, conversation_id: str, items: Sequence[Item]) -> bool:
        """Add ``items`` to a conversation; return False when it is gone."""
        async with self.writing() as connection:
            expires = self.now + self._ttl_s
            return await conversation_rows.append(
                connection, conversation_id, items, expires=expires
            )
