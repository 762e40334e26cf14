"""Regular work on the catalog: read what other servers changed, and write down what is used."""

import asyncio

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
        self._failing = False

    async def run(self) -> None:
        """Refresh the catalog after every pause of ``REFRESH_S``, until cancelled.

        Every 30th time the usage is written too. A failure is logged once and does not end the
        loop.
        """
        turn = 0
        while True:
            await asyncio.sleep(REFRESH_S)
            turn += 1
            try:
                await self._catalog.refresh()
                if turn % _FLUSH_EVERY == 0:
                    await self._usage.flush()
            except AdapterError as error:
                if not self._failing:
                    logger.warning("catalog not refreshed", why=str(error))
                self._failing = True
            else:
                self._failing = False

    async def close(self) -> None:
        """Write the last usage to the database; a failure is logged and stops nothing."""
        try:
            await self._usage.flush()
        except AdapterUnavailable as error:
            logger.warning("usage not noted", why=str(error))
