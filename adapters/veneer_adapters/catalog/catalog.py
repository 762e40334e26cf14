"""What every adapter name means now.

Reads come from memory (``snapshot``). Writes change the database first and memory second, so a
change that was answered survives a crash. ``refresh`` brings in what other processes wrote.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from veneer_adapters.catalog.alias import Alias, Guard, Mover, Sticky, Target
from veneer_adapters.catalog.database import Database
from veneer_adapters.catalog.entry import Arrival, Entry
from veneer_adapters.catalog.proof import Effect
from veneer_adapters.catalog.repository import Note, Repository, unnoted
from veneer_adapters.catalog.revision import Revision, Source
from veneer_adapters.catalog.snapshot import Refusal, Snapshot
from veneer_adapters.errors import (
    AdapterError,
    AdapterExists,
    AdapterNotFound,
    AdapterRejected,
    quoted,
)
from veneer_adapters.lifecycle import State

logger = structlog.get_logger(__name__)

__all__ = ["Arrival", "Catalog", "Entry", "OnChange"]

OnChange = Callable[[Entry | None, Entry], None]
"""Gets each entry that changed, before and after, on the event loop; must not raise."""


def _ignored(before: Entry | None, after: Entry) -> None:
    """Ignore the change; the default until ``watch`` is called."""


class Catalog(Snapshot):
    """A snapshot that can be written, and that follows what other processes write."""

    def __init__(
        self,
        repository: Repository,
        *,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(clock)
        self._repository = repository
        self._now = now
        self._on_change: OnChange = _ignored
        self._version = 0
        self._writing = asyncio.Lock()

    @classmethod
    async def open(
        cls,
        database: Database,
        where: Callable[[str], Path],
        *,
        note: Note = unnoted,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> "Catalog":
        """Return the catalog that ``database`` keeps; ``where`` says where a digest is stored.

        ``note`` gets each change in its transaction. Dates are those of ``now``; what is only kept
        for a while goes by ``clock``.

        Raises:
            CatalogUnreadable: the content of the database contradicts itself.
        """
        catalog = cls(Repository(database, where, note), now=now, clock=clock)
        await catalog.refresh()
        return catalog

    def watch(self, on_change: OnChange) -> None:
        """Give ``on_change`` every entry that exists now, and each change from now on."""
        self._on_change = on_change
        for entry in self._entries.values():
            on_change(None, entry)

    async def moves(self, name: str, alias: str) -> list[Alias]:
        """Return what ``alias`` was after each of its moves, the newest first."""
        self._entry(name)
        return await self._repository.moves(name, alias)

    async def add(self, arrival: Arrival, *, is_new: bool = False) -> Revision:
        """Keep the content as a revision and return it; see ``add_all``.

        Raises:
            AdapterExists: ``is_new`` is set and the name is taken; nothing changed.
        """
        return (await self._add([arrival], is_new=is_new))[0]

    async def add_all(self, arrivals: Sequence[Arrival]) -> list[Revision]:
        """Keep each arrival as a revision, with one commit for all of them.

        Content that was published before keeps its number; other content gets the next one.
        ``Entry.added`` says when an alias moves. An earlier refusal of the name is forgotten.

        Raises:
            StateBusy, StorageFailed: nothing changed.
        """
        return await self._add(arrivals, is_new=False)

    async def give_up(self, revision: Revision, *, is_new: bool = False) -> None:
        """Let no alias wait for ``revision`` any more; a no-op when its adapter was removed.

        The name is removed again when nothing serves under it and nothing else is to be proved.
        When it ``is_new``, revisions of an earlier life do not count.
        """

        def change(entry: Entry) -> Entry:
            left = entry.given_up(revision.number)
            waits = any(r.becomes for r in left.revisions)
            serves = not is_new and any(r.state is State.READY for r in left.revisions)
            return left if left.aliases or waits or serves else left.removed()

        with suppress(AdapterNotFound):
            await self._edit(revision.adapter, change)

    async def prove(self, revision: Revision, effect: Effect) -> None:
        """Make ``revision`` READY and move the alias that waited for it, in one commit."""
        await self._edit(
            revision.adapter, lambda e: e.proved(revision.number, effect, now=self._today())
        )

    async def refuse(self, revision: Revision, error: AdapterRejected) -> None:
        """Make ``revision`` FAILED. An alias that points to it does not move."""
        await self._edit(revision.adapter, lambda e: e.refused(revision.number, error))

    async def describe(self, name: str, number: int, training: Mapping[str, Any]) -> None:
        """Write down how revision ``number`` of ``name`` was trained; no alias moves.

        Raises:
            AdapterNotFound: somebody has removed the adapter.
        """
        await self._edit(name, lambda e: e.described(number, training))

    async def move(
        self,
        name: str,
        alias: str,
        targets: tuple[Target, ...],
        *,
        sticky: Sticky | None = None,
        guard: Guard | None = None,
        expected: int | None = None,
        by: Mover = "move",
    ) -> Alias:
        """Point ``alias`` of ``name`` to ``targets`` and return it; raises as ``Entry.moved``."""
        after = await self._edit(
            name,
            lambda e: e.moved(
                alias,
                targets,
                now=self._today(),
                by=by,
                sticky=sticky,
                guard=guard,
                expected=expected,
            ),
        )
        return after.aliases[alias]

    async def roll_back(
        self,
        name: str,
        alias: str,
        *,
        without: int | None = None,
        expected: int | None = None,
        by: Mover = "rollback",
    ) -> Alias:
        """Point ``alias`` to what it pointed to before; raises as ``Entry.rolled_back``."""
        now = self._today()
        after = await self._edit(
            name,
            lambda e: e.rolled_back(alias, now=now, by=by, without=without, expected=expected),
        )
        return after.aliases[alias]

    async def remove_alias(self, name: str, alias: str, *, expected: int | None = None) -> None:
        """Remove ``alias``; raises AdapterNotFound and AliasMoved."""
        self.alias(name, alias)
        await self._edit(name, lambda e: e.without_alias(alias, expected=expected))

    async def pin(self, name: str, *, pinned: bool) -> None:
        """Write down whether the live revision of ``name`` stays in its device slot."""
        await self._edit(name, lambda e: replace(e, pinned=pinned))

    async def remove(self, name: str) -> None:
        """Remove ``name``, so that clients do not find it; its numbers are never used again.

        The content that its watched folder holds now does not bring it back; other content does.

        Raises:
            AdapterNotFound: there is no such adapter.
        """
        if self._refusals.pop(name) is not None and not self._is_present(name):
            return
        await self._edit(name, lambda e: e.removed(offered=e.offered))

    async def remove_folder(self, name: str) -> bool:
        """Remove what came from a watched folder that is gone; return whether it was visible."""
        refusal = self._refusals.get(name)
        if refusal is not None and refusal.source.kind == "folder":
            self._refusals.pop(name)
        entry = self._entries.get(name)
        if entry is None or entry.source.kind != "folder" or not (entry.present or entry.offered):
            return refusal is not None
        await self._commit([name], lambda found: [found[name].removed()])
        return entry.present

    def fail(self, name: str, error: AdapterError, source: Source) -> None:
        """Record that the newest content of ``name`` was refused before it became a revision.

        A live revision goes on serving, and the refusal is shown beside it. The record is kept in
        memory only, and ``Refusals`` says how long: every process judges the content for itself,
        and again after a restart.
        """
        self._refusals.add(name, Refusal(error, source, self._today()))

    async def refresh(self) -> None:
        """Take over what other processes changed.

        Raises:
            StorageFailed: the database cannot be read now; memory stays as it is.
        """
        async with self._writing:
            if await self._repository.version() == self._version:
                return
            changed, version = await self._repository.changed_since(self._version)
            self._take(changed, version)

    async def _add(self, arrivals: Sequence[Arrival], *, is_new: bool) -> list[Revision]:
        added: list[Revision] = []

        def change(found: dict[str, Entry]) -> Collection[Entry]:
            for arrival in arrivals:
                old = found.get(arrival.name)
                if is_new and old and old.present:
                    raise AdapterExists(f"There is already an adapter {quoted(arrival.name)}.")
                old = old or Entry(arrival.name, arrival.source, self._today())
                found[arrival.name], revision = old.added(arrival, now=self._today())
                added.append(revision)
            return found.values()

        names = [arrival.name for arrival in arrivals]
        if self._is_news(arrivals):
            await self._commit(names, change)
        else:
            if any(arrival.source.kind != "folder" for arrival in arrivals):
                # A request is told only what a restart would find, so the catalog must be there.
                await self._repository.version()
            change({name: self._entries[name] for name in names})
        for name in names:
            self._refusals.pop(name)
        return added

    def _is_news(self, arrivals: Sequence[Arrival]) -> bool:
        # At most restarts the folders hold what they held before: there is nothing to write.
        entries = self._entries
        return any(
            a.name not in entries or entries[a.name].added(a, now=0)[0] != entries[a.name]
            for a in arrivals
        )

    async def _edit(self, name: str, change: Callable[[Entry], Entry]) -> Entry:
        after: list[Entry] = []

        def one(found: dict[str, Entry]) -> Collection[Entry]:
            if name not in found or not found[name].present:
                raise self._absent(name, name)
            after[:] = [change(found[name])]
            return after

        await self._commit([name], one)
        return after[0]

    async def _commit(
        self, names: Collection[str], change: Callable[[dict[str, Entry]], Collection[Entry]]
    ) -> None:
        async with self._writing:
            # The shield keeps the commit whole when the caller is cancelled. Then the next refresh
            # brings the change into memory.
            changed, version = await asyncio.shield(self._repository.edit(names, change))
            for name, entry in changed.items():
                _log_moves(self._entries.get(name), entry)
            self._take(changed, version if version == self._version + 1 else self._version)

    def _take(self, changed: Mapping[str, Entry], version: int) -> None:
        for name, entry in changed.items():
            before = self._entries.get(name)
            if entry.present or entry.offered is not None:
                self._entries[name] = entry
            else:
                # The database keeps its numbers. Memory needs an entry that is not present only
                # to compare it with what its watched folder offers.
                self._entries.pop(name, None)
            self._on_change(before, entry)
        self._version = version

    def _today(self) -> int:
        return int(self._now())


def _log_moves(before: Entry | None, after: Entry) -> None:
    old = before.aliases if before else {}
    for alias in after.aliases.values():
        if alias != old.get(alias.name):
            event = "adapter published" if alias.by == "publish" else "alias moved"
            revision = after.revisions[alias.main - 1]
            told = {"adapter": after.name, "alias": alias.name, "by": alias.by}
            logger.info(event, **told, revision=revision.label, targets=len(alias.targets))
