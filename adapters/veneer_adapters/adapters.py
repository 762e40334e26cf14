"""One method for each thing a person can ask for about adapters.

Routes and other callers parse what a person typed and call one of these methods. A location is
written as people write it: a URL of some scheme, or a path on this server. Nothing here is about
HTTP.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

from veneer_adapters.catalog.alias import Alias
from veneer_adapters.catalog.catalog import Catalog
from veneer_adapters.catalog.revision import Adapter, Revision, Source
from veneer_adapters.doctor.report import Report
from veneer_adapters.errors import (
    AdapterFailed,
    AdapterNotFound,
    AdapterPinned,
    SlotsPinned,
    quoted,
)
from veneer_adapters.events import Level
from veneer_adapters.lifecycle import State
from veneer_adapters.names import LIVE, Selector
from veneer_adapters.publishing.checkup import Checkup
from veneer_adapters.publishing.intake import source_of
from veneer_adapters.publishing.publishing import Publishing, Wanted
from veneer_adapters.publishing.staging import Offer, Staging
from veneer_adapters.publishing.uploads import Upload
from veneer_adapters.residency.residency import Residency


class Adapters:
    """Every adapter of one server. The methods return values that do not change later."""

    def __init__(
        self,
        catalog: Catalog,
        staging: Staging,
        publishing: Publishing,
        residency: Residency,
        checkup: Checkup,
        error_of: Callable[[Revision], float | None] = lambda _: None,
    ) -> None:
        """``error_of`` returns with which error a revision is served; None when it is exact."""
        self._catalog = catalog
        self._staging = staging
        self._publishing = publishing
        self._residency = residency
        self._checkup = checkup
        self._error_of = error_of

    # Look.

    def every(self) -> list[Adapter]:
        """Return every adapter, failed ones too, in the order of their names."""
        return [self._as_it_is(adapter) for adapter in self._catalog.adapters()]

    def knows(self, name: str) -> bool:
        """Return whether there is an adapter called ``name``; a failed one counts."""
        return self._catalog.knows(name)

    def require(self, name: str, sees: Callable[[str], bool]) -> None:
        """Return when there is an adapter called ``name`` for a client who ``sees`` some names.

        Raises:
            AdapterNotFound: there is none, or not for this client; nobody can tell which.
        """
        known = self._catalog.knows(name) or name in self._staging.progress()
        if not known or not sees(name):
            raise self._catalog.not_found(name, name, sees)

    def get(self, name: str) -> Adapter:
        """Return the adapter called ``name``, also while its first content is being staged.

        Raises:
            AdapterNotFound: there is no such adapter, and none is being staged by request.
        """
        progress = self._staging.progress().get(name)
        if progress is not None and not self._catalog.knows(name):
            return Adapter(name, State.STAGING, None, progress.source, None, progress=progress)
        return self._as_it_is(self._catalog.get(name))

    def select(self, selector: Selector) -> Adapter:
        """Return the adapter that ``selector`` names, with the revision it selects as its live one.

        Raises:
            AdapterNotFound: there is no such adapter, alias or revision.
            AdapterFailed: the selected revision cannot serve.
        """
        adapter = self._catalog.get(selector.adapter)
        if selector.alias != LIVE:
            adapter = replace(adapter, live=self._catalog.resolve(selector))
        return self._as_it_is(adapter)

    def revisions(self, name: str) -> list[Revision]:
        """Return every revision of ``name``, the newest first.

        Raises:
            AdapterNotFound: there is no such adapter.
            AdapterFailed: no content of ``name`` was ever accepted.
        """
        return list(self._catalog.revisions(name)[::-1])

    def alias(self, name: str, alias: str) -> Alias:
        """Return what ``alias`` of ``name`` means now; raises as ``revisions``."""
        return self._catalog.alias(name, alias)

    def levels(self) -> dict[str, Level]:
        """Return where each revision in the engine is, by its name in the engine."""
        return {resident.revision: resident.level for resident in self._residency.snapshot()}

    async def history(self, name: str, alias: str) -> list[Alias]:
        """Return what ``alias`` was after each of its moves, the newest first.

        Raises what ``revisions`` raises.
        """
        return await self._catalog.moves(name, alias)

    async def check(self, location: str) -> Report:
        """Return what the doctor says of the adapter at ``location``; no file of it is kept.

        Raises:
            AdapterRejected: adapters may not come from there, or the files cannot be read within
                the limits.
            AdapterUnavailable: the source or the disk does not work now.
        """
        return await self._checkup.examine(source_of(location))

    async def report(self, name: str) -> Report:
        """Return what the doctor says of the newest revision of ``name``, from the store.

        If no content of it was ever accepted, its source is examined as ``check`` does.

        Raises:
            AdapterNotFound: there is no such adapter.
            AdapterRejected, AdapterUnavailable: as for ``check``.
        """
        try:
            newest = self._catalog.revisions(name)[-1]
        except AdapterFailed:
            return await self._checkup.examine(self._catalog.get(name).source)
        return await self._checkup.examine_stored(newest.path)

    # Publish.

    async def add(
        self,
        name: str,
        location: str,
        *,
        pinned: bool = False,
        allow_no_effect: bool = False,
        wait: bool = True,
    ) -> Adapter:
        """Publish the artifact at ``location`` as a new adapter: proved, and live.

        Without ``wait`` this method only starts the work; ``get`` shows the progress.

        Raises:
            AdapterExists: the name is taken.
            AdapterRejected: the leaf says what is wrong; nothing was added.
            AdapterUnavailable: the source, the disk or the engine does not work now.
            SlotsPinned: it is to be pinned, and all slots but one are pinned already.
        """
        if pinned:
            self._require_slot_for_others(name)
        offer = Offer(
            name,
            source_of(location),
            is_new=True,
            pinned=pinned,
            allow_no_effect=allow_no_effect,
        )
        await self._stage(offer, wait=wait)
        return self.get(name)

    async def publish(
        self,
        name: str,
        location: str,
        *,
        alias: str | None = LIVE,
        allow_no_effect: bool = False,
        wait: bool = True,
    ) -> Revision | None:
        """Make the artifact at ``location`` a revision, prove it and point ``alias`` to it.

        With ``alias`` None every alias stays where it is. Without ``wait`` this method only starts
        the work and returns None.

        Raises:
            AdapterNotFound: there is no adapter called ``name``.
            AdapterFailed: no content of ``name`` was ever accepted.
            AdapterRejected, AdapterUnavailable: as for ``add``; no alias moved.
        """
        self._catalog.revisions(name)
        offer = Offer(name, source_of(location), alias, allow_no_effect=allow_no_effect)
        return await self._stage(offer, wait=wait)

    def receiving(self) -> AbstractAsyncContextManager[Upload]:
        """Give an upload to which the files of an adapter may come; they end with the block.

        Raises:
            StagingFull: as many uploads come in already as may.
            AdapterUnavailable: there is no room for it on the disk.
        """
        return self._staging.receiving()

    async def publish_upload(
        self,
        name: str,
        upload: Upload,
        *,
        alias: str | None = LIVE,
        allow_no_effect: bool = False,
    ) -> Revision:
        """Make what was uploaded a revision of ``name``, which may be new, and move ``alias``.

        Raises:
            AdapterRejected, AdapterUnavailable: as for ``add``; no alias moved.
        """
        offer = Offer(name, Source("upload", ""), alias, allow_no_effect=allow_no_effect)
        return await self._staging.stage_upload(offer, upload)

    async def put(self, name: str, location: str) -> None:
        """Make the artifact at ``location`` the live revision of ``name`` and load it.

        The name may be new or not. Raises what ``publish`` and ``load`` raise, except
        AdapterNotFound.
        """
        await self._residency.warm(await self._staging.stage(Offer(name, source_of(location))))

    async def remove(self, name: str) -> None:
        """Remove an adapter; requests that run on it may finish.

        What is still being fetched under that name is given up.

        Raises:
            AdapterNotFound: there is no such adapter, and none is being fetched by request.
        """
        withdrawn = self._staging.withdraw(name)
        try:
            await self._catalog.remove(name)
        except AdapterNotFound:
            if not withdrawn:
                raise

    # Move aliases.

    async def move(self, name: str, alias: str, wanted: Wanted) -> Alias:
        """Point ``alias`` to the targets of ``wanted``; make the alias if it is missing.

        Raises:
            AdapterRejected: a target does not exist or cannot serve; nothing moved.
            AdapterUnavailable: a target could not be proved now; nothing moved.
            AliasMoved: the alias has another version than ``wanted`` expects.
        """
        return await self._publishing.move(name, alias, wanted)

    async def roll_back(self, name: str, alias: str, *, expected: int | None = None) -> Alias:
        """Point ``alias`` to what it pointed to before.

        Raises:
            AliasMoved: the alias does not have the ``expected`` version.
            NothingToRollBack: there is no such alias, or no earlier target can serve.
        """
        return await self._catalog.roll_back(name, alias, expected=expected)

    async def remove_alias(self, name: str, alias: str, *, expected: int | None = None) -> None:
        """Remove ``alias``; raises AdapterNotFound and AliasMoved."""
        await self._catalog.remove_alias(name, alias, expected=expected)

    # Keep in slots.

    async def pin(self, name: str, *, pinned: bool) -> Adapter:
        """Load the live revision and keep it in its device slot, or allow its eviction again.

        The hot set keeps it there as soon as the catalog says so, wherever the alias moves.

        Raises what ``load`` raises, SlotsPinned when all slots but one are pinned already, and
        StateBusy or StorageFailed when the catalog cannot be written; then nothing is pinned that
        was not.
        """
        if pinned:
            self._require_slot_for_others(name)
            await self._residency.warm(self._live(name))
        await self._catalog.pin(name, pinned=pinned)
        return self.get(name)

    def _require_slot_for_others(self, name: str) -> None:
        others = sum(a.pinned and a.name != name for a in self._catalog.adapters())
        if others >= self._residency.most_pinned:
            slots = self._residency.most_pinned + 1
            raise SlotsPinned(
                f"The engine has {slots} slots for adapters (adapters.device_slots), and one of"
                f" them stays free for adapters that are not pinned, of which {others} are. Unpin"
                " another adapter first, or start with more slots."
            )

    async def load(self, name: str) -> Adapter:
        """Load the live revision before a request asks for it.

        Raises:
            AdapterNotFound, AdapterFailed: there is no live revision that can serve.
            AdapterUnavailable: no slot became free, or the engine refused the revision.
        """
        await self._residency.warm(self._live(name))
        return self.get(name)

    def unload(self, name: str) -> Adapter:
        """Free the slots of each revision as soon as no request holds it.

        Raises:
            AdapterNotFound: there is no such adapter.
            AdapterPinned: the adapter is pinned.
        """
        if self._catalog.get(name).pinned:
            raise AdapterPinned(f"The adapter {quoted(name)} is pinned; unpin it first.")
        for revision in self._catalog.revisions(name):
            self._residency.forget(revision)
        return self.get(name)

    async def _stage(self, offer: Offer, *, wait: bool) -> Revision | None:
        if wait:
            return await self._staging.stage(offer)
        self._staging.start(offer)
        return None

    def _live(self, name: str) -> Revision:
        return self._catalog.resolve(Selector(name, alias=LIVE))

    def _as_it_is(self, adapter: Adapter) -> Adapter:
        progress = self._staging.progress().get(adapter.name)
        compressed = self._error_of(adapter.live) if adapter.live else None
        state = self._state_of(adapter)
        if (state, progress, compressed) == (adapter.state, None, None):
            return adapter  # as most of a thousand are
        return replace(adapter, state=state, progress=progress, compressed=compressed)

    def _state_of(self, adapter: Adapter) -> State:
        # What the engine does with the live revision says more than what the catalog knows of it.
        if adapter.live is None:
            return adapter.state
        in_engine = self._residency.state_of(adapter.live)
        return adapter.live.state if in_engine is State.READY else in_engine
