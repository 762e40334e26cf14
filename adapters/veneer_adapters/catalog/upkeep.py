"""Regular work on the catalog: read what other servers changed, and write down what is used."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from veneer_adapters.catalog.catalog import Catalog
from veneer_adapters.catalog.usage import Usage
from veneer_adapters.errors import AdapterError, AdapterUnavailable

logger = structlog.get_logger(__name__)

REFRESH_S = 1.0
"""The pause between two looks at the database, in seconds. A change by another server is seen after
this pause and the queries of one look: within two seconds, while the database answers in time."""
_FLUSH_EVERY = 30


class Upkeep:
    """Keeps memory and database in step while the server runs."""

    def __init__(self, catalog: Catalog, usage: Usage) -> None:
        self._catalog = catalog
        self._usage = usage
        self._failing: set[str] = set()

    async def run(self) -> None:
        """Refresh the catalog after every pause of ``REFRESH_S``, until cancelled.

        Every 30th time the usage is written too, whether the refresh succeeded or not. A failure
        is logged once until it is over, and does not end the loop.
        """
        turn = 0
        while True:
            await asyncio.sleep(REFRESH_S)
            turn += 1
            await self._try("catalog not refreshed", self._catalog.refresh)
            if turn % _FLUSH_EVERY == 0:
                await self._try("usage not noted", self._usage.flush)

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
