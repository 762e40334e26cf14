"""What must be true of a revision before a request may use it: its files and its effect.

Residency asks before and after each load from disk, so damage never shows in the middle of an
engine step. A failure concerns only one revision.
"""

import time
from collections.abc import Awaitable, Callable

import structlog

from veneer_adapters.catalog.catalog import Catalog
from veneer_adapters.catalog.proof import Effect, judge
from veneer_adapters.catalog.revision import Revision
from veneer_adapters.errors import AdapterRejected, AdapterUnavailable, ContentLost, quoted
from veneer_adapters.events import LoadStage, Observer, StageFinished, Unobserved
from veneer_adapters.lifecycle import State
from veneer_adapters.residency.compressing import Compressing
from veneer_adapters.residency.engine import AdapterEngine
from veneer_adapters.residency.weights import Weights
from veneer_adapters.store.store import Store
from veneer_adapters.threads import Threads

logger = structlog.get_logger(__name__)

_HASHED_AT_ONCE = 4


class Vouching:
    """Vouches for revisions: it checks the files in the store and the engine's own answers."""

    def __init__(
        self,
        catalog: Catalog,
        store: Store,
        engine: AdapterEngine,
        restore: Callable[[Revision], Awaitable[None]],
        *,
        shared: bool = False,
        observer: Observer | None = None,
        compressing: Compressing | None = None,
    ) -> None:
        """``restore`` brings lost content back from its source, or raises.

        Without ``compressing`` every revision is loaded from its own content, whatever its rank.

        When the catalog is ``shared``, another server may still have content that is lost here.
        """
        self._catalog = catalog
        self._store = store
        self._engine = engine
        self._restore = restore
        self._shared = shared
        self._observer = observer or Unobserved()
        self._compressing = compressing
        self._threads = Threads("vouching", _HASHED_AT_ONCE)

    async def before_load(self, revision: Revision) -> Weights:
        """Return what to load for ``revision``, when it is in the store and undamaged.

        Lost files are fetched again from their source.

        Raises:
            RankTooLarge: it does not fit the slots, and may not be compressed as far as that.
            ContentLost: they are lost, and the source cannot replace them. The revision is FAILED
                then, unless the catalog is shared.
            AdapterUnavailable: the source or the disk does not work now.
        """
        await self.require_content(revision)
        if self._compressing is None:
            return Weights(revision.path)
        return await self._compressing.weights_of(revision)

    async def require_content(self, revision: Revision) -> None:
        """Return when the files of ``revision`` are in the store, undamaged.

        Raises ContentLost and AdapterUnavailable as ``before_load``.
        """
        if await self._threads.run(self._store.check, revision.digest):
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
        """Return when ``revision``, now in the engine, has proved its effect there.

        It is measured only while it is STAGED. Afterwards it is READY, or FAILED for good.

        Raises:
            AdapterRejected: it changes nothing, or produces garbage.
            AdapterUnavailable: the engine could not measure it, or an alias waits for the proof and
                the catalog could not be written.
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

    def close(self) -> None:
        """Begin no further check of files."""
        self._threads.close()

    async def _record(self, revision: Revision, effect: Effect) -> None:
        try:
            await self._catalog.prove(revision, effect)
        except AdapterUnavailable as error:
            if revision.becomes is not None:
                raise
            # It has proved its effect, so requests need not wait for the catalog. Its next load
            # proves it again and records that.
            logger.warning("proof not recorded", revision=revision.label, why=str(error))
