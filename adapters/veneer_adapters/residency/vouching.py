"""What must be true of a revision before a request may use it: its files, and its effect.

Asked by residency around each load from disk. A failure concerns one revision, which is FAILED
then, and never comes as a surprise in the middle of a step.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from veneer_adapters.catalog.catalog import Catalog
from veneer_adapters.catalog.proof import Effect, judge
from veneer_adapters.catalog.revision import Revision
from veneer_adapters.errors import AdapterRejected, AdapterUnavailable, ContentLost, quoted
from veneer_adapters.events import LoadStage, Observer, StageFinished, Unobserved
from veneer_adapters.lifecycle import State
from veneer_adapters.residency.engine import AdapterEngine
from veneer_adapters.store.store import Store

logger = structlog.get_logger(__name__)


class Vouching:
    """Vouches for revisions by the store's files and by the engine's own answers."""

    def __init__(
        self,
        catalog: Catalog,
        store: Store,
        engine: AdapterEngine,
        restore: Callable[[Revision], Awaitable[None]],
        *,
        shared: bool = False,
        observer: Observer | None = None,
    ) -> None:
        """``restore`` brings lost content back from its source, or raises.

        With a catalog that is ``shared`` another server may still have what is lost here.
        """
        self._catalog = catalog
        self._store = store
        self._engine = engine
        self._restore = restore
        self._shared = shared
        self._observer = observer or Unobserved()

    async def before_load(self, revision: Revision) -> None:
        """Return when the files of ``revision`` are in the store and are what they were.

        Raises:
            ContentLost: they are not, and its source has no others; unless the catalog is
                shared the revision is FAILED.
            AdapterUnavailable: its source cannot be asked now.
        """
        if await asyncio.to_thread(self._store.check, revision.digest):
            self._store.used(revision.digest)
            return
        try:
            await self._restore(revision)
        except AdapterRejected as error:
            lost = ContentLost(
                f"The stored files of {quoted(revision.label)} are gone or damaged, and its"
                f" source cannot replace them: {error}"
            )
            if not self._shared:
                await self._catalog.refuse(revision, lost)
            raise lost from error

    async def after_load(self, revision: Revision, engine_id: int) -> None:
        """Return when ``revision``, now in the engine, has proved what it does there.

        The first time it is measured, and is READY or FAILED for good afterwards.

        Raises:
            AdapterRejected: it changes nothing, or produces garbage.
        """
        current = self._catalog.current(revision)
        if current.state is not State.STAGED:
            return
        began_s = time.monotonic()
        effect = await self._engine.measure_effect(engine_id, revision.engine_name)
        try:
            judge(effect, allow_no_effect=current.allow_no_effect)
        except AdapterRejected as error:
            await self._catalog.refuse(revision, error)
            raise
        await self._record(current, effect)
        seconds = time.monotonic() - began_s
        self._observer.on_event(StageFinished(revision.adapter, LoadStage.PROVE, seconds))

    async def _record(self, revision: Revision, effect: Effect) -> None:
        try:
            await self._catalog.prove(revision, effect)
        except AdapterUnavailable as error:
            if revision.becomes is not None:
                raise
            # It did prove itself: requests need not wait for the catalog; its next load does.
            logger.warning("proof not recorded", revision=revision.label, why=str(error))
