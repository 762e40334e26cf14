"""Regular work on what is kept: runs beat, what is old goes, and lost runs are ended."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from veneer_server.conversations.errors import StateUnavailable
from veneer_server.conversations.runs import LOST, Runs, failed
from veneer_server.conversations.sql import response_rows, sweeping_rows
from veneer_server.conversations.sql.store import Store

logger = structlog.get_logger(__name__)

BEAT_S = 5.0
"""The pause between two beats, in seconds."""
SILENT_S = 60
"""A run whose server has not beaten for so many seconds is over."""
_SWEEP_EVERY = 12
_SHARE = 20


class Upkeep:
    """Keeps what is stored within its bounds, and its records honest."""

    def __init__(self, store: Store, runs: Runs, *, max_bytes: int) -> None:
        """Keep ``max_bytes`` at most, and a twentieth more for a short time."""
        self._store = store
        self._runs = runs
        self._max_bytes = max_bytes
        self._swept_at = 0
        self._failing: set[str] = set()

    async def run(self) -> None:
        """Work until cancelled. A failure is logged once until it is over."""
        if not self._store.shared:
            # Nobody else uses this database, so whatever runs in it does so no more.
            await self._try("lost responses not ended", lambda: self.end_silent(before_s=-1))
        turn = 0
        while True:
            turn += 1
            await self._try("responses not beaten", self._runs.beat)
            grown = self._store.written - self._swept_at > self._max_bytes // _SHARE
            if turn % _SWEEP_EVERY == 0 or grown:
                await self._try("old responses not removed", self.sweep)
                await self._try("lost responses not ended", self.end_silent)
            await asyncio.sleep(BEAT_S)

    async def sweep(self) -> None:
        """Remove what is expired, and what expires next while there is too much."""
        self._swept_at = self._store.written
        while await self._remove_expired() > 0:
            pass
        async with self._store.reading() as connection:
            over = await sweeping_rows.total_size(connection) - self._max_bytes
        while over > 0:
            async with self._store.writing() as connection:
                gone = await sweeping_rows.delete_oldest(connection, over)
            if gone == 0:
                return
            over -= gone

    async def _remove_expired(self) -> int:
        async with self._store.writing() as connection:
            return await sweeping_rows.delete_expired(connection, now=self._store.now)

    async def end_silent(self, before_s: int = SILENT_S) -> None:
        """End each run that was last heard of ``before_s`` seconds ago: its server is dead."""
        before = self._store.now - before_s
        async with self._store.reading() as connection:
            found = await response_rows.find_silent(connection, before=before)
        for record in found:
            if record.id not in self._runs.running():
                await self._store.settle(record, {**record.document, **failed(LOST)})
                logger.warning("background response ended", response=record.id, why=LOST)

    async def _try(self, what: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except StateUnavailable as error:
            if what not in self._failing:
                logger.warning(what, why=str(error))
            self._failing.add(what)
        else:
            self._failing.discard(what)
