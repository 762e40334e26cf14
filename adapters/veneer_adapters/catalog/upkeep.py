"""What must happen now and then: see what other servers changed, note what is used."""

import asyncio

import structlog

from veneer_adapters.catalog.catalog import Catalog
from veneer_adapters.catalog.usage import Usage
from veneer_adapters.errors import AdapterError, AdapterUnavailable

logger = structlog.get_logger(__name__)

REFRESH_S = 1.0
"""Other servers' changes show within this time and one query."""
_FLUSH_EVERY = 30


class Upkeep:
    """Keeps memory and database in step, for as long as the server runs."""

    def __init__(self, catalog: Catalog, usage: Usage) -> None:
        self._catalog = catalog
        self._usage = usage
        self._failing = False

    async def run(self) -> None:
        """Refresh every second, until cancelled."""
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
        """Note what was used since the last time; that it cannot be noted stops nobody."""
        try:
            await self._usage.flush()
        except AdapterUnavailable as error:
            logger.warning("usage not noted", why=str(error))
