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
                    tasks.create_task(self._finish_first_scan(change.names, waiting))
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
        except NameNotAllowed as error:
            logger.warning("adapter folder ignored", adapter=change.name, why=str(error))
        except AdapterRejected:
            # Recorded and logged already. The watch reports the folder again when it changes.
            pass
        except AdapterUnavailable as error:
            logger.info("adapter will be tried again", adapter=change.name, reason=error.reason)
            watch.retry(change.name)
        finally:
            if self._last.get(change.name) is asyncio.current_task():
                del self._last[change.name]

    async def _finish_first_scan(
        self, names: frozenset[str], staging: Iterable[asyncio.Task[None]]
    ) -> None:
        for task in staging:
            await asyncio.wait([task])
        for name, source in self._catalog.in_folders().items():
            if name not in names and self._is_ours(source):
                await self._remove_or_log(name)
        self.initial_scan_done.set()

    def _is_ours(self, source: Source) -> bool:
        if self._shared_roots is None:
            return True
        folder = Path(source.location)
        return any(folder.is_relative_to(root.path.resolve()) for root in self._shared_roots)

    async def _remove_or_log(self, name: str) -> None:
        try:
            await self._remove(name)
        except AdapterUnavailable as error:
            logger.warning("adapter not removed", adapter=name, reason=error.reason)

    async def _remove(self, name: str) -> None:
        if await self._catalog.remove_folder(name):
            logger.info("adapter removed", adapter=name)
