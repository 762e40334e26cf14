"""How often requests ask for each adapter, so that a restart can first load those used most."""

import time
from collections import Counter
from collections.abc import Callable

import sqlalchemy as sa

from veneer_adapters.catalog.database import Database
from veneer_adapters.catalog.tables import adapters, usage


class Usage:
    """Counts requests in memory, and adds them to the database from time to time."""

    def __init__(self, database: Database, *, now: Callable[[], float] = time.time) -> None:
        self._database = database
        self._now = now
        self._counts: Counter[str] = Counter()

    def count(self, adapter: str) -> None:
        """Count one request for ``adapter``, a catalog name."""
        self._counts[adapter] += 1

    async def flush(self) -> None:
        """Add the counts to the database, and forget adapters that were removed.

        After a crash the counts since the last flush are lost.

        Raises:
            StorageFailed: nothing was added, and every count is kept for the next try.
        """
        counts, self._counts = self._counts, Counter()
        if not counts:
            return
        try:
            await self._add(counts)
        except BaseException:
            self._counts.update(counts)
            raise

    async def most_used(self, limit: int) -> list[str]:
        """Return at most ``limit`` names, the one with the most requests first."""
        ranked = sa.select(usage.c.adapter).order_by(
            usage.c.requests.desc(), usage.c.used.desc(), usage.c.adapter
        )
        async with self._database.reading() as connection:
            return list((await connection.scalars(ranked.limit(limit))).all())

    async def last_used(self) -> dict[str, int]:
        """Return when each adapter was last asked for, in seconds since 1970, as of the last flush.

        Raises:
            AdapterUnavailable: the database cannot be read.
        """
        async with self._database.reading() as connection:
            rows = await connection.execute(sa.select(usage.c.adapter, usage.c.used))
            return {row.adapter: row.used for row in rows}

    async def _add(self, counts: Counter[str]) -> None:
        now = int(self._now())
        rows = [{"name": name, "more": more, "at": now} for name, more in counts.items()]
        add = sa.update(usage).where(usage.c.adapter == sa.bindparam("name"))
        async with self._database.noting() as connection:
            known = set((await connection.scalars(sa.select(usage.c.adapter))).all())
            fresh = [
                {"adapter": name, "requests": 0, "used": now} for name in counts.keys() - known
            ]
            if fresh:
                await connection.execute(sa.insert(usage), fresh)
            more = {"requests": usage.c.requests + sa.bindparam("more"), "used": sa.bindparam("at")}
            await connection.execute(add.values(more), rows)
            present = sa.select(adapters.c.name).where(adapters.c.present)
            await connection.execute(sa.delete(usage).where(usage.c.adapter.not_in(present)))
