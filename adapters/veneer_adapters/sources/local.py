"""Watched folders of this machine.

The operating system reports where something happened, and a look at that place finds out what.
Every ``rescan_s`` there is a look at everything, for file systems that report nothing. A root may
appear, vanish and come back. The looks run in a thread and open no file of an adapter.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path

import structlog

from veneer_adapters.sources.base import Change, Changed, FirstScanDone, Removed, Root
from veneer_adapters.sources.folders.entries import Identity, Ignored, shown
from veneer_adapters.sources.folders.listening import Listening
from veneer_adapters.sources.folders.scan import Scanner
from veneer_adapters.sources.folders.settling import Settling

logger = structlog.get_logger(__name__)

_ROOT_CHECK_S = 1.0


class FolderWatch:
    """Reports which adapters lie in some folders, and what changes there, once it is quiet.

    ``settle_s`` is how long a folder must stay the same, ``rescan_s`` how often everything is
    looked at, both in seconds. ``clock`` is monotonic; ``now`` counts as the file system does.
    """

    def __init__(
        self,
        roots: Sequence[Root],
        *,
        settle_s: float = 1.0,
        rescan_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._roots = [root.resolved() for root in roots]
        self._scanner = Scanner(self._roots)
        self._settling = Settling(settle_s)
        self._rescan_s = rescan_s
        self._clock = clock
        self._now = now
        self._next_full_s = 0.0
        self._touched: set[Path] = set()
        self._wake = asyncio.Event()
        self._listening = Listening(self._touch, self._look_everywhere)
        self._watched: dict[Path, Identity] = {}
        self._reported: set[Ignored] = set()
        self._failure = ""

    async def changes(self) -> AsyncGenerator[Change]:
        """Yield what is there and quiet, FirstScanDone once, then each change once it is quiet.

        The generator is endless, for one listener, who closes it. A change is reported again only
        when the folder changes again, or after ``retry``. No error ends it.
        """
        self._listening.listen_in(_identities(self._roots))
        listening = asyncio.create_task(self._listening.run())
        try:
            # Listen before the first look, so that nothing that happens during it is missed.
            await asyncio.sleep(0)
            first, scan = await self._look_safely()
            for change in first:
                yield change
            yield scan
            while True:
                await self._wait_for_work()
                for change in (await self._look_safely())[0]:
                    yield change
        finally:
            listening.cancel()
            await asyncio.wait([listening])

    def retry(self, name: str) -> None:
        """Report ``name`` again at the next look, ``rescan_s`` from now at the latest."""
        self._settling.forget(name)

    async def _look_safely(self) -> tuple[Sequence[Changed | Removed], FirstScanDone]:
        try:
            found = await self._look()
            self._failure = ""
        except Exception as error:
            if repr(error) != self._failure:
                self._failure = repr(error)
                logger.error("adapter folders could not be looked at", exc_info=error)
            await asyncio.sleep(_ROOT_CHECK_S)
            self._look_everywhere()
            everywhere = frozenset(root.path for root in self._roots)
            return [], FirstScanDone(frozenset(), everywhere)
        return found

    async def _look(self) -> tuple[Sequence[Changed | Removed], FirstScanDone]:
        if self._clock() >= self._next_full_s:
            self._next_full_s = self._clock() + self._rescan_s
            await asyncio.to_thread(self._scanner.scan)
        else:
            pending = {folder for _, folder in self._settling.pending() if folder}
            touched, self._touched = self._touched | pending, set()
            await asyncio.to_thread(self._scanner.scan_near, touched)
        self._listening.listen_in(self._scanner.folders())
        seen, ignored = self._scanner.seen(self._now())
        self._report(set(ignored))
        scan = FirstScanDone(frozenset(seen), self._scanner.unread())
        return self._settling.look(seen, self._clock()), scan

    def _report(self, ignored: set[Ignored]) -> None:
        for new in ignored - self._reported:
            logger.warning("adapter folder ignored", folder=shown(new.folder), why=new.why)
        self._reported = ignored

    async def _wait_for_work(self) -> None:
        while not self._wake.is_set() and self._seconds_to_next_look() > 0:
            identities = _identities(self._roots)
            if identities != self._watched:
                self._watched = identities
                self._look_everywhere()
                break
            pause_s = min(self._seconds_to_next_look(), _ROOT_CHECK_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()
        self._wake.clear()

    def _seconds_to_next_look(self) -> float:
        due_s = self._settling.due_s()
        at_s = self._next_full_s if due_s is None else min(due_s, self._next_full_s)
        return at_s - self._clock()

    def _touch(self, paths: Collection[Path]) -> None:
        self._touched.update(paths)
        self._wake.set()

    def _look_everywhere(self) -> None:
        self._next_full_s = 0.0
        self._wake.set()


def _identities(roots: Sequence[Root]) -> dict[Path, Identity]:
    # By inode, because a root that was removed and made again needs a new watch.
    found: dict[Path, Identity] = {}
    for root in roots:
        with suppress(OSError):
            seen = root.path.stat()
            found[root.path] = (seen.st_dev, seen.st_ino)
    return found
