"""From a folder somebody else owns to a revision that can be served: fetch, verify, publish.

The copy is verified, never the source, so nothing can change between the check and the use.
A failure concerns one name: it is recorded in the catalog, told once in the log, and what
served before serves on. Files are read and hashed in threads, a few at a time.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import structlog

from veneer_adapters.catalog.catalog import Arrival, Catalog
from veneer_adapters.catalog.revision import Revision, Source
from veneer_adapters.checks import verify
from veneer_adapters.errors import (
    AdapterError,
    AdapterNotFound,
    AdapterRejected,
    AdapterUnavailable,
    NameNotAllowed,
    PathNotAllowed,
    SourceChanging,
    quoted,
)
from veneer_adapters.host import LoadStage, Observer, StageFinished, Unobserved
from veneer_adapters.manifest import BaseFacts
from veneer_adapters.names import is_adapter_name
from veneer_adapters.publishing import Publishing
from veneer_adapters.sources.base import Changed, FirstScanDone, Removed, Root, Watch
from veneer_adapters.store import Store

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Refused:
    error: AdapterError
    digest: str | None


class Staging:
    """The only way into the store and the catalog."""

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        facts: BaseFacts,
        *,
        retire: Callable[[Revision], None] = lambda revision: None,
        reserved: Collection[str] = (),
        workers: int = 2,
        observer: Observer | None = None,
    ) -> None:
        """Stage into ``store`` and ``catalog`` what fits ``facts``, ``workers`` at a time.

        ``reserved`` are names that mean something else already: the base model's.

        ``retire`` is called, on the event loop, for each revision that stopped being what its
        name means: it was superseded or removed.
        """
        self._store = store
        self._catalog = catalog
        self._facts = facts
        self._retire = retire
        self._reserved = frozenset(reserved)
        self._publishing = Publishing(catalog, retire)
        self._free_workers = asyncio.Semaphore(workers)
        self._observer = observer or Unobserved()
        self._logged: dict[str, tuple[str, str | None]] = {}
        self._last: dict[str, asyncio.Task[None]] = {}
        self.initial_scan_done = asyncio.Event()
        """Set when ``follow`` has staged, or refused, all that lay there at the start."""

    async def stage(
        self, name: str, folder: Path, source: Source, *, roots: Sequence[Root] | None = None
    ) -> Revision:
        """Make what lies in ``folder`` the live revision of ``name`` and return it.

        With ``roots`` the folder must, links resolved, lie inside one of them. A refusal is
        recorded in the catalog when ``source`` is a watched folder; otherwise the caller, who
        gets the error, is the one to know.

        Raises:
            AdapterRejected: the leaf that says what is wrong.
            SourceChanging: somebody is writing to the folder; nothing was recorded.
            StorageFailed: the folder could not be read or the store not written.
        """
        if not is_adapter_name(name):
            raise NameNotAllowed(f"{quoted(name)} is not a name an adapter can have.")
        if name in self._reserved:
            raise NameNotAllowed(f"{quoted(name)} is the name of the base model.")
        async with self._free_workers:
            began_s = time.monotonic()
            verdict = await asyncio.to_thread(self._judge, name, folder, source, roots)
        if isinstance(verdict, _Refused):
            await self._record(name, verdict, source)
            raise verdict.error
        self._logged.pop(name, None)
        revision = await self._publishing.publish(verdict)
        seconds = time.monotonic() - began_s
        self._observer.on_event(StageFinished(name, LoadStage.STAGE, seconds))
        return revision

    async def stage_path(self, name: str, path: Path, roots: Sequence[Root]) -> Revision:
        """Stage ``path`` as ``stage`` does; it must, links resolved, lie inside one of ``roots``.

        What is published this way stays, also after a restart, until ``name`` is removed.
        """
        return await self.stage(name, path, Source("path", str(path)), roots=roots)

    async def follow(self, watch: Watch) -> None:
        """Keep the catalog equal to what ``watch`` tells, until cancelled.

        Changes of one name are handled one after the other, of different names side by side.
        Adapters of watched folders that are gone since the last run are removed.
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
                await self.stage(change.name, change.folder, source, roots=[change.root])
        except NameNotAllowed as error:
            logger.warning("adapter folder ignored", adapter=change.name, why=str(error))
        except AdapterRejected:
            # Recorded and logged by `stage`; told again when the folder changes.
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
        for adapter in self._catalog.adapters():
            if adapter.name not in names:
                await self._remove_or_log(adapter.name)
        self.initial_scan_done.set()

    async def _remove_or_log(self, name: str) -> None:
        try:
            await self._remove(name)
        except AdapterUnavailable as error:
            logger.warning("adapter not removed", adapter=name, reason=error.reason)

    async def _remove(self, name: str) -> None:
        try:
            if self._catalog.get(name).source.kind != "folder":
                return
            revisions = await asyncio.to_thread(self._catalog.remove, name)
        except AdapterNotFound:
            return
        logger.info("adapter removed", adapter=name)
        for revision in revisions:
            self._retire(revision)

    def _judge(
        self, name: str, folder: Path, source: Source, roots: Sequence[Root] | None
    ) -> Arrival | _Refused:
        digest = None
        try:
            received = self._store.receive(_resolved(folder, roots))
            digest = received.digest
            try:
                manifest = verify(received.path, self._facts)
                path = self._store.keep(received)
            finally:
                self._store.discard(received)
        except AdapterError as error:
            return _Refused(error, digest)
        return Arrival(name, digest, path, manifest, source)

    async def _record(self, name: str, refused: _Refused, source: Source) -> None:
        error = refused.error
        if isinstance(error, SourceChanging):
            return
        if source.kind == "folder":
            await asyncio.to_thread(self._catalog.fail, name, error, source)
        judged = (str(error), refused.digest)
        if self._logged.get(name) != judged:
            self._logged[name] = judged
            logger.warning("adapter refused", adapter=name, reason=error.reason, detail=str(error))


def _resolved(folder: Path, roots: Sequence[Root] | None) -> Path:
    # What was checked is what is used: a link exchanged afterwards changes nothing.
    resolved = folder.resolve()
    if roots is None or any(resolved.is_relative_to(root.path.resolve()) for root in roots):
        return resolved
    raise PathNotAllowed("The path is not inside a folder adapters may come from.")
