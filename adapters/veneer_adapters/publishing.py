"""Publish what arrives, with one flush for all that arrived during the flush before.

A thousand adapters at the first start would otherwise mean a thousand flushes of one file.
"""

import asyncio
from collections.abc import Callable

import structlog

from veneer_adapters.catalog.catalog import Arrival, Catalog
from veneer_adapters.catalog.revision import Revision
from veneer_adapters.errors import AdapterNotFound

logger = structlog.get_logger(__name__)


class Publishing:
    """One writer for the catalog, fed by any number of tasks."""

    def __init__(self, catalog: Catalog, retire: Callable[[Revision], None]) -> None:
        """Publish into ``catalog``; ``retire`` gets each revision that was superseded."""
        self._catalog = catalog
        self._retire = retire
        self._waiting: list[tuple[Arrival, asyncio.Future[Revision]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def publish(self, arrival: Arrival) -> Revision:
        """Return the revision ``arrival`` became; it is then live and survives a crash.

        Raises:
            StorageFailed: the catalog could not be written; nothing changed.
        """
        published: asyncio.Future[Revision] = asyncio.get_running_loop().create_future()
        self._waiting.append((arrival, published))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        return await published

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            before = {arrival.name: self._live(arrival.name) for arrival, _ in batch}
            arrivals = [arrival for arrival, _ in batch]
            try:
                revisions = await asyncio.to_thread(self._catalog.publish_all, arrivals)
            except Exception as error:  # Each waiter raises it: the writer must outlive it.
                for _, published in batch:
                    if not published.done():
                        published.set_exception(error)
                continue
            for (_, published), revision in zip(batch, revisions, strict=True):
                self._tell(before[revision.adapter], revision)
                if not published.done():
                    published.set_result(revision)

    def _tell(self, old: Revision | None, new: Revision) -> None:
        if old is not None and old.digest == new.digest:
            return
        logger.info("adapter published", adapter=new.adapter, revision=new.header)
        if old is not None:
            self._retire(old)

    def _live(self, name: str) -> Revision | None:
        try:
            return self._catalog.get(name).live
        except AdapterNotFound:
            return None
