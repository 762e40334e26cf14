"""What to load before a request asks for it: pinned adapters first, then the most used ones.

A revision that no alias points to any more is unloaded as soon as no request holds it. A pin
follows the live revision, wherever the alias moves. One device slot is never pinned away: when
another server with more slots pinned more adapters, the last of them are not kept here.
"""

import asyncio
from collections.abc import Iterable

import structlog

from veneer_adapters.catalog.catalog import Entry
from veneer_adapters.catalog.revision import Revision
from veneer_adapters.errors import AdapterError
from veneer_adapters.residency.residency import Residency

logger = structlog.get_logger(__name__)

_RETRY_S = 10.0
_TOO_MANY = "one device slot stays free for adapters that are not pinned"


class HotSet:
    """Keeps the slots in step with the catalog."""

    def __init__(self, residency: Residency) -> None:
        self._residency = residency
        self._wanted: dict[str, Revision] = {}
        self._pinned: dict[str, Revision] = {}
        self._changed = asyncio.Event()

    def on_change(self, before: Entry | None, after: Entry) -> None:
        """Forget the revisions that lost their last alias, recall those that got one, note the pin.

        Forgotten revisions leave the engine when they are idle; ``keep`` pins what is noted.
        """
        for revision in _left_behind(before, after):
            self._residency.forget(revision)
            if self._pinned.get(after.name) == revision:
                del self._pinned[after.name]
        for revision in after.targeted() - (before.targeted() if before else frozenset()):
            self._residency.recall(revision)
        live = after.live
        if after.present and after.pinned and live is not None:
            self._wanted[after.name] = live
        else:
            self._wanted.pop(after.name, None)
        self._changed.set()

    async def load(self, most_used: Iterable[Revision], *, room: int) -> None:
        """Load the pinned adapters, then ``most_used``, until ``room`` adapters are in the engine.

        An adapter that cannot be loaded is logged. The next request for it tries again.
        """
        await self._pin_wanted()
        for revision in most_used:
            if len(self._residency.snapshot()) >= room:
                return
            try:
                await self._residency.warm(revision)
            except AdapterError as error:
                logger.warning("adapter not warmed", revision=revision.label, why=str(error))

    async def keep(self) -> None:
        """Pin and unpin as the catalog changes, until cancelled.

        A pin that failed is tried again every ten seconds, and at the next change.
        """
        while True:
            self._changed.clear()
            await self._pin_wanted()
            try:
                async with asyncio.timeout(_RETRY_S):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _pin_wanted(self) -> None:
        for name, old in list(self._pinned.items()):
            if self._wanted.get(name, old).digest != old.digest or name not in self._wanted:
                self._residency.unpin(old)
                del self._pinned[name]
        for name, revision in list(self._wanted.items()):
            if name in self._pinned:
                continue
            if len(self._pinned) >= self._residency.most_pinned:
                logger.warning("adapter not pinned", revision=revision.label, why=_TOO_MANY)
                continue
            try:
                await self._residency.pin(revision)
            except AdapterError as error:
                logger.warning("adapter not pinned", revision=revision.label, why=str(error))
            else:
                self._pinned[name] = revision


def _left_behind(before: Entry | None, after: Entry) -> list[Revision]:
    if before is None:
        return []
    if not after.present:
        return list(before.revisions)
    still = {revision.number for revision in after.targeted()}
    return [revision for revision in before.targeted() if revision.number not in still]
