"""From a source to a revision that can be served: take it in, publish it, report what failed.

A failure concerns only one name, and the revision that served before goes on serving. A caller that
waits gets the error. An error of a watched folder, or of work that nobody waits for, is recorded in
the catalog and logged.
"""

import asyncio
import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import structlog

from veneer_adapters.catalog.catalog import Arrival, Catalog
from veneer_adapters.catalog.revision import Progress, Revision, Source
from veneer_adapters.errors import (
    AdapterError,
    AdapterExists,
    AdapterNotFound,
    NameNotAllowed,
    SourceChanging,
    StagingFull,
    quoted,
)
from veneer_adapters.events import LoadStage, Observer, StageFinished, Unobserved
from veneer_adapters.names import LIVE, is_adapter_name
from veneer_adapters.publishing.allowances import Allowances
from veneer_adapters.publishing.intake import Intake, Refused, Taken
from veneer_adapters.publishing.publishing import Publishing
from veneer_adapters.publishing.uploads import Upload
from veneer_adapters.publishing.withdrawing import Withdrawable
from veneer_adapters.sources.base import Root
from veneer_adapters.sources.fetching import OnBytes

logger = structlog.get_logger(__name__)

MOST_STARTED = 100
"""How many stagings that nobody waits for go on at a time."""


@dataclass(frozen=True, slots=True)
class Offer:
    """Content that somebody wants to publish."""

    name: str
    source: Source
    becomes: str | None = LIVE
    """The alias that should point to it; None leaves every alias where it is."""
    is_new: bool = False
    """Whether the name must not exist yet."""
    allow_no_effect: bool = False
    """Whether its publisher allows it to have no effect."""
    pinned: bool = False
    """Whether the live revision stays in its device slot from the beginning."""
    training: Mapping[str, Any] | None = None
    """See ``Revision.training``."""


class Staging:
    """The only way in which new content reaches the catalog."""

    def __init__(
        self,
        intake: Intake,
        catalog: Catalog,
        publishing: Publishing,
        *,
        reserved: Mapping[str, str] | None = None,
        allowances: Allowances | None = None,
        observer: Observer | None = None,
    ) -> None:
        """Publish what ``intake`` takes; ``reserved`` says what some names mean already.

        Without ``allowances`` a namespace may have any number of adapters.
        """
        self._intake = intake
        self._catalog = catalog
        self._publishing = publishing
        self._reserved = reserved or {}
        self._allowances = allowances or Allowances(catalog)
        self._observer = observer or Unobserved()
        self._logged: dict[str, tuple[str, str | None]] = {}
        self._progress: dict[str, Progress] = {}
        self._fetches = Withdrawable()
        self._running: set[asyncio.Task[None]] = set()

    def progress(self) -> dict[str, Progress]:
        """Return, by name, the progress of every staging by request."""
        return dict(self._progress)

    async def stage(self, offer: Offer, *, root: Root | None = None) -> Revision:
        """Publish what a request asked for and return the revision, with its alias moved.

        A folder must lie in one of the roots that requests may name, or in ``root`` if that is
        given.

        Raises:
            AdapterExists: the name must be new and is taken.
            AdapterNotFound: somebody removed the adapter before it was published or proved.
            AdapterRejected: the leaf says what is wrong; no alias moved.
            AdapterUnavailable: the source, the disk or the engine does not work now; no alias
                moved.
        """
        self._require_possible(offer)
        self._allowances.require_place(offer.name, self._progress)
        try:
            return await self._take_and_publish(offer, root)
        except Refused as refused:
            raise refused.error from refused
        finally:
            self._progress.pop(offer.name, None)

    async def stage_upload(self, offer: Offer, upload: Upload) -> Revision:
        """Publish the files that came with ``upload``; raises as ``stage``."""
        await asyncio.to_thread(upload.require_whole)
        return await self.stage(offer, root=Root(upload.folder).resolved())

    def receiving(self) -> AbstractAsyncContextManager[Upload]:
        """Give an upload to which files may come; see ``Intake.receiving``."""
        return self._intake.receiving()

    def start(self, offer: Offer) -> None:
        """Start what ``stage`` does and return; ``progress`` and the catalog show how it goes on.

        Raises what ``stage`` raises when the name or the source is wrong from the start, and:
            StagingFull: as many as may be have been started already.
        """
        self._require_possible(offer)
        self._allowances.require_place(offer.name, self._progress)
        if len(self._running) >= MOST_STARTED:
            raise StagingFull(f"{MOST_STARTED} adapters are being staged already; try again soon.")
        self._intake.check(offer.source)
        self._progress[offer.name] = Progress(offer.source, "fetch")
        task = asyncio.create_task(self._stage_or_record(offer))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def withdraw(self, name: str) -> bool:
        """Give up what is being fetched or verified for ``name`` by request.

        Return whether there was anything. Who waits for it gets AdapterNotFound. Content that is
        in the catalog already stays there.
        """
        return self._fetches.withdraw(name)

    async def close(self) -> None:
        """Cancel what ``start`` began.

        If the catalog already has the revision, ``resume`` finishes it after the next start.
        """
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _stage_or_record(self, offer: Offer) -> None:
        try:
            await self.stage(offer)
        except AdapterNotFound:
            # Who removed the adapter does not want to see it again as a failed one.
            logger.info("adapter removed before it was proved", adapter=offer.name)
        except AdapterError as error:
            self._catalog.fail(offer.name, error, offer.source)
            logger.warning("adapter not published", adapter=offer.name, detail=str(error))

    async def stage_folder(self, offer: Offer, root: Root) -> Revision:
        """Publish what lies in a watched folder; a refusal is recorded in the catalog.

        Raises:
            AdapterRejected: the leaf says what is wrong.
            AdapterUnavailable: it does not work now; the caller should try again.
        """
        self._require_possible(offer)
        began_s = time.monotonic()
        try:
            taken = await self._intake.take(offer.source, root=root)
        except Refused as refused:
            self._record(offer, refused)
            raise refused.error from refused
        self._logged.pop(offer.name, None)
        try:
            revision = await self._publishing.publish(_arrival(offer, taken))
        finally:
            self._intake.release(taken)
        self._finished(offer.name, began_s)
        return revision

    def forget(self, name: str) -> None:
        """Forget what was logged of ``name``, because its watched folder is gone."""
        self._logged.pop(name, None)

    async def resume(self) -> None:
        """Finish what was being published when the server stopped; failures are logged."""
        for revision in self._catalog.waiting():
            try:
                await self._publishing.finish(revision)
            except AdapterError as error:
                name, detail = revision.adapter, str(error)
                logger.warning("adapter not published", adapter=name, detail=detail)

    async def _take_and_publish(self, offer: Offer, root: Root | None) -> Revision:
        began_s = time.monotonic()
        self._progress[offer.name] = Progress(offer.source, "fetch")
        taken = await self._fetches.run(
            offer.name,
            self._intake.take(offer.source, root=root, on_bytes=self._reporter(offer)),
            self._intake.release,
        )
        self._progress[offer.name] = Progress(offer.source, "prove")
        arrival = _arrival(offer, taken)
        try:
            with self._allowances.room(offer.name, taken.digest, taken.manifest.size_bytes):
                revision = await self._publishing.publish(
                    arrival, is_new=offer.is_new, or_not_at_all=True
                )
        finally:
            self._intake.release(taken)
        self._finished(offer.name, began_s)
        return revision

    def _require_possible(self, offer: Offer) -> None:
        name = offer.name
        if not is_adapter_name(name):
            raise NameNotAllowed(f"{quoted(name)} is not a name an adapter can have.")
        if name in self._reserved:
            raise NameNotAllowed(f"{quoted(name)} is {self._reserved[name]}.")
        if offer.is_new and self._is_taken(name):
            raise AdapterExists(f"There is already an adapter {quoted(name)}.")

    def _is_taken(self, name: str) -> bool:
        try:
            return self._catalog.get(name).revisions > 0
        except AdapterNotFound:
            return False

    def _reporter(self, offer: Offer) -> OnBytes:
        def report(done: int, total: int | None) -> None:
            self._progress[offer.name] = Progress(offer.source, "fetch", done, total)

        return report

    def _finished(self, name: str, began_s: float) -> None:
        seconds = time.monotonic() - began_s
        self._observer.on_event(StageFinished(name, LoadStage.STAGE, seconds))

    def _record(self, offer: Offer, refused: Refused) -> None:
        error, name = refused.error, offer.name
        if isinstance(error, SourceChanging):
            return
        self._catalog.fail(name, error, offer.source)
        judged = (str(error), refused.digest)
        if self._logged.get(name) != judged:
            self._logged[name] = judged
            logger.warning("adapter refused", adapter=name, reason=error.reason, detail=str(error))


def _arrival(offer: Offer, taken: Taken) -> Arrival:
    return Arrival(
        offer.name,
        taken.digest,
        taken.path,
        taken.manifest,
        taken.source,
        offer.becomes,
        offer.allow_no_effect,
        offer.pinned,
        offer.training,
    )
