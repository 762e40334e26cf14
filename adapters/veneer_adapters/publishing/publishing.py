"""From verified content to what a name means: add it, prove it, move the alias.

Content that arrives during a commit shares the next commit. Otherwise a thousand adapters at the
first start would need a thousand flushes of the disk. Proofs of one name take turns.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from weakref import WeakValueDictionary

from veneer_adapters.catalog.alias import Alias, Guard, Sticky, Target
from veneer_adapters.catalog.catalog import Arrival, Catalog
from veneer_adapters.catalog.revision import Revision
from veneer_adapters.errors import AdapterError, AdapterFailed, AdapterRejected, StateBusy, quoted
from veneer_adapters.lifecycle import State

Prove = Callable[[Revision], Awaitable[None]]
"""Returns when the engine can serve the revision and it is READY; raises AdapterError."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an alias should point to."""

    targets: tuple[Target, ...]
    sticky: Sticky | None = None
    guard: Guard | None = None
    expected: int | None = None
    """The version that the alias must have now. 0: it must not exist. None: any version."""


class Publishing:
    """One writer for the catalog; any number of tasks may use it."""

    def __init__(self, catalog: Catalog, prove: Prove) -> None:
        self._catalog = catalog
        self._prove = prove
        self._waiting: list[tuple[Arrival, asyncio.Future[Revision]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """A name has a lock while somebody holds it or waits for it."""

    async def publish(
        self, arrival: Arrival, *, is_new: bool = False, or_not_at_all: bool = False
    ) -> Revision:
        """Return the revision that ``arrival`` became, with its alias moved.

        The first content of a watched folder is served at once, and its first use proves it.
        Everything else is proved before its alias moves.

        Raises:
            AdapterExists: ``is_new`` is set and the name is taken.
            AdapterNotFound: somebody removed the adapter before it was proved.
            AdapterRejected: the proof failed; no alias moved.
            AdapterUnavailable: it could not be proved or written down now; no alias moved. The
                alias goes on waiting for it, unless ``or_not_at_all`` is set.
        """
        if is_new:
            added = await self._catalog.add(arrival, is_new=True)
        else:
            added = await self._add(arrival)
        if added.becomes is None:
            return added
        try:
            return await self.finish(added)
        except AdapterError:
            if or_not_at_all:
                await self._catalog.give_up(added, is_new=is_new)
            raise

    async def move(self, name: str, alias: str, wanted: Wanted) -> Alias:
        """Prove the targets that were not proved yet, then point ``alias`` to all of them at once.

        Raises:
            AdapterRejected: a target does not exist or cannot serve; nothing moved.
            AdapterUnavailable: a target could not be proved now; nothing moved.
            AliasMoved: the alias has another version than ``wanted`` expects.
        """
        numbers = {target.revision for target in wanted.targets}
        for revision in self._catalog.revisions(name):
            if revision.number in numbers and revision.state is State.STAGED:
                await self._prove_or_tell(revision)
        return await self._catalog.move(
            name,
            alias,
            wanted.targets,
            sticky=wanted.sticky,
            guard=wanted.guard,
            expected=wanted.expected,
        )

    async def finish(self, revision: Revision) -> Revision:
        """Prove ``revision``, which moves the alias that waits for it; raises as ``publish``."""
        async with self._turns.setdefault(revision.adapter, asyncio.Lock()):
            if self._catalog.current(revision).becomes is not None:
                await self._prove_or_tell(revision)
        proved = self._catalog.current(revision)
        if proved.becomes is not None:
            # It stayed in the engine after a proof that could not be written down.
            name = quoted(revision.label)
            raise StateBusy(f"The proof of {name} could not be recorded; unload it and try again.")
        return proved

    async def _prove_or_tell(self, revision: Revision) -> None:
        try:
            await self._prove(revision)
        except AdapterFailed as error:
            if isinstance(error.__cause__, AdapterRejected):
                raise error.__cause__ from error
            raise

    async def _add(self, arrival: Arrival) -> Revision:
        added: asyncio.Future[Revision] = asyncio.get_running_loop().create_future()
        self._waiting.append((arrival, added))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        return await added

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                revisions = await self._catalog.add_all([arrival for arrival, _ in batch])
            except Exception as error:  # Each waiter raises it; the writer goes on.
                for _, added in batch:
                    if not added.done():
                        added.set_exception(error)
                continue
            for (_, added), revision in zip(batch, revisions, strict=True):
                if not added.done():
                    added.set_result(revision)
