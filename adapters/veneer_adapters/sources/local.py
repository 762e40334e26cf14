"""Watched folders of this machine.

The operating system reports where something happened, and a look at that place finds out what.
Every ``rescan_s`` there is a look at everything, for file systems that report nothing. A root may
appear, vanish and come back. The looks run in a thread and open no file.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from pathlib import Path

import structlog
from watchfiles import awatch

from veneer_adapters.sources.base import Change, Changed, FirstScanDone, Removed, Root
from veneer_adapters.sources.scan import Ignored, Scanner
from veneer_adapters.sources.settling import Settling

logger = structlog.get_logger(__name__)

_ROOT_CHECK_S = 1.0
_POLL_S = 2.0


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
        self._roots = [Root(root.path.resolve(), root.read_only) for root in roots]
        self._scanner = Scanner(self._roots)
        self._settling = Settling(settle_s)
        self._rescan_s = rescan_s
        self._clock = clock
        self._now = now
        self._next_full_s = 0.0
        self._touched: set[Path] = set()
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()
        self._watched: dict[Path, tuple[int, int]] = {}
        self._reported: set[Ignored] = set()

    async def changes(self) -> AsyncGenerator[Change]:
        """Yield what is there and quiet, FirstScanDone once, then each change once it is quiet.

        The generator is endless, for one listener, who closes it. A change is reported again only
        when the folder changes again, or after ``retry``.
        """
        listening = asyncio.create_task(self._listen())
        try:
            # Listen before the first look, so that nothing that happens during it is missed.
            await asyncio.sleep(0)
            first, names = await self._look()
            for change in first:
                yield change
            yield FirstScanDone(names)
            while True:
                await self._wait_for_work(listening)
                for change in (await self._look())[0]:
                    yield change
        finally:
            self._stop.set()
            listening.cancel()
            await asyncio.wait([listening])

    def retry(self, name: str) -> None:
        """Report ``name`` again at the next look, ``rescan_s`` from now at the latest."""
        self._settling.forget(name)

    async def _look(self) -> tuple[Sequence[Changed | Removed], frozenset[str]]:
        if self._clock() >= self._next_full_s:
            self._next_full_s = self._clock() + self._rescan_s
            await asyncio.to_thread(self._scanner.scan)
        else:
            pending = {folder for _, folder in self._settling.pending() if folder}
            touched, self._touched = self._touched | pending, set()
            await asyncio.to_thread(self._scanner.scan_near, touched)
        seen, ignored = self._scanner.seen(self._now())
        for folder in set(ignored) - self._reported:
            logger.warning("adapter folder ignored", folder=str(folder.folder), why=folder.why)
        self._reported = set(ignored)
        return self._settling.look(seen, self._clock()), frozenset(seen)

    async def _wait_for_work(self, listening: asyncio.Task[None]) -> None:
        while not self._wake.is_set() and self._seconds_to_next_look() > 0:
            if listening.done():
                listening.result()
            if _identities(self._roots) != self._watched:
                self._stop.set()
            pause_s = min(self._seconds_to_next_look(), _ROOT_CHECK_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()
        self._wake.clear()

    def _seconds_to_next_look(self) -> float:
        due_s = self._settling.due_s()
        at_s = self._next_full_s if due_s is None else min(due_s, self._next_full_s)
        return at_s - self._clock()

    async def _listen(self) -> None:
        while True:
            self._stop.clear()
            self._watched = _identities(self._roots)
            self._next_full_s = 0.0
            self._wake.set()
            try:
                await self._listen_to(list(self._watched))
            except OSError as error:
                logger.warning("adapter folders are polled, not watched", why=str(error))
                self._rescan_s = min(self._rescan_s, _POLL_S)
                await self._stop.wait()

    async def _listen_to(self, paths: Sequence[Path]) -> None:
        if not paths:
            await self._stop.wait()
            return
        async for batch in awatch(
            *paths, watch_filter=None, stop_event=self._stop, ignore_permission_denied=True
        ):
            self._touched.update(Path(path) for _, path in batch)
            self._wake.set()


def _identities(roots: Sequence[Root]) -> dict[Path, tuple[int, int]]:
    # By inode, because a root that was removed and made again needs a new watch.
    found: dict[Path, tuple[int, int]] = {}
    for root in roots:
        if root.path.is_dir():
            stat = root.path.stat()
            found[root.path] = (stat.st_dev, stat.st_ino)
    return found
