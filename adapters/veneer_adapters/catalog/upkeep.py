"""Regular work on the catalog: read what other servers changed, write down what is used, and see
whether the catalog can still be written."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import structlog

from veneer_adapters.catalog.catalog import Catalog
from veneer_adapters.catalog.database import Database
from veneer_adapters.catalog.usage import Usage
from veneer_adapters.errors import AdapterError, AdapterUnavailable

logger = structlog.get_logger(__name__)

REFRESH_S = 1.0
"""The pause between two looks at the database, in seconds. A change by another server is seen after
this pause and the queries of one look: within two seconds, while the database answers in time."""
_FLUSH_EVERY = 30


class Upkeep:
    """Keeps memory and database in step while the server runs."""

    def __init__(self, catalog: Catalog, usage: Usage, database: Database) -> None:
        self._catalog = catalog
        self._database = database
        self._usage = usage
        self._failing: set[str] = set()

    async def run(self) -> None:
        """Refresh the catalog after every pause of ``REFRESH_S``, until cancelled.

        Every 30th time the usage is written too, whether the refresh succeeded or not, and a
        database of this server's own is written in any case. Every time it is asked whether there
        is room. A failure is logged once until it is over, and does not end the loop.
        """
        turn = 0
        while True:
            await asyncio.sleep(REFRESH_S)
            turn += 1
            await self._try("catalog not refreshed", self._catalog.refresh)
            is_due = turn % _FLUSH_EVERY == 0
            if is_due:
                await self._try("usage not noted", self._usage.flush)
            if not self._database.shared:
                look = partial(self._database.require_writable, by_writing=is_due)
                await self._try("catalog not writable", look)

    async def _try(self, failed: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except AdapterError as error:
            if failed not in self._failing:
                logger.warning(failed, why=str(error))
            self._failing.add(failed)
        else:
            self._failing.discard(failed)

    async def close(self) -> None:
        """Write the last usage to the database; a failure is logged and stops nothing."""
        try:
            await self._usage.flush()
        except AdapterUnavailable as error:
            logger.warning("usage not noted", why=str(error))
