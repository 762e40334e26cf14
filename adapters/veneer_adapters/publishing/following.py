"""Keep the catalog equal to the content of the watched folders.

Changes of one name are handled one after the other, changes of different names side by side.
"""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from pathlib import Path

import structlog

from veneer_adapters.catalog.catalog import Catalog
from veneer_adapters.catalog.revision import Source
from veneer_adapters.errors import AdapterRejected, AdapterUnavailable, NameNotAllowed
from veneer_adapters.publishing.staging import Offer, Staging
from veneer_adapters.sources.base import Changed, FirstScanDone, Removed, Root, Watch

logger = structlog.get_logger(__name__)


class Following:
    """Stages what appears or changes in watched folders, and removes what is gone."""

    def __init__(
        self, staging: Staging, catalog: Catalog, *, shared_roots: Sequence[Root] | None = None
    ) -> None:
        """Follow into ``catalog``.

        With ``shared_roots`` other servers follow other folders into the same catalog. Then only
        adapters from these roots are removed when their folder is missing.
        """
        self._staging = staging
        self._catalog = catalog
        self._shared_roots = shared_roots
        self._retried: dict[str, str] = {}
        self._last: dict[str, asyncio.Task[None]] = {}
        self.initial_scan_done = asyncio.Event()
        """Set when each adapter that lay quiet in the folders at the start was handled once."""

    async def follow(self, watch: Watch) -> None:
        """Apply what ``watch`` reports, until cancelled.

        An adapter whose watched folder has gone since the last run is removed after the first scan.
        """
        async with asyncio.TaskGroup() as tasks, aclosing(watch.changes()) as changes:
            async for change in changes:
                if isinstance(change, FirstScanDone):
                    waiting = list(self._last.values())
                    tasks.create_task(self._finish_first_scan(change, waiting))
                    continue
                previous = self._last.get(change.name)
                task = tasks.create_task(self._apply(change, watch, previous))
                self._last[change.name] = task

    async def _apply(
        self, change: Changed | Removed, watch: Watch, previous: asyncio.Task[None] | None
    ) -> None:
        if previous is not None:
            await asyncio.wait([previous])
        try:
            if isinstance(change, Removed):
                await self._remove(change.name)
            else:
                source = Source("folder", str(change.folder), change.root.read_only)
                await self._staging.stage_folder(Offer(change.name, source), change.root)
            self._retried.pop(change.name, None)
        except Exception as error:
            self._failed(change.name, error, watch)
        finally:
            if self._last.get(change.name) is asyncio.current_task():
                del self._last[change.name]

    def _failed(self, name: str, error: Exception, watch: Watch) -> None:
        if isinstance(error, NameNotAllowed):
            logger.warning("adapter folder ignored", adapter=name, why=str(error))
        elif isinstance(error, AdapterUnavailable):
            if self._retried.get(name) != error.reason:
                logger.info("adapter will be tried again", adapter=name, reason=error.reason)
            self._retried[name] = error.reason
            watch.retry(name)
        elif not isinstance(error, AdapterRejected):
            # What nobody foresaw costs one adapter, never the following of all others.
            logger.error("adapter not published", adapter=name, exc_info=error)
        # A rejection is recorded and logged. The watch reports the folder when it changes again.

    async def _finish_first_scan(
        self, scan: FirstScanDone, staging: Iterable[asyncio.Task[None]]
    ) -> None:
        try:
            for task in staging:
                await asyncio.wait([task])
            for name, source in self._catalog.in_folders().items():
                if name not in scan.names and self._is_gone(source, scan.unread):
                    await self._remove_or_log(name)
        finally:
            self.initial_scan_done.set()

    def _is_gone(self, source: Source, unread: Iterable[Path]) -> bool:
        folder = Path(source.location)
        if any(folder.is_relative_to(place) for place in unread):
            return False
        if self._shared_roots is None:
            return True
        return any(folder.is_relative_to(root.resolved().path) for root in self._shared_roots)

    async def _remove_or_log(self, name: str) -> None:
        try:
            await self._remove(name)
        except AdapterUnavailable as error:
            logger.warning("adapter not removed", adapter=name, reason=error.reason)
        except Exception as error:
            logger.error("adapter not removed", adapter=name, exc_info=error)

    async def _remove(self, name: str) -> None:
        self._staging.forget(name)
        if await self._catalog.remove_folder(name):
            logger.info("adapter removed", adapter=name)
