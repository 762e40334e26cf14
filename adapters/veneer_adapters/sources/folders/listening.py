"""Hear from the operating system in which folders something happened.

Only the folders that are named are watched, never what links in them lead to: one link to ``/``
would otherwise watch the whole machine.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import structlog
from watchfiles import awatch

from veneer_adapters.errors import quoted
from veneer_adapters.sources.folders.entries import Identity

logger = structlog.get_logger(__name__)

PAUSE_S = 2.0
_SETTLE_S = 0.2


class Listening:
    """Watches a set of folders that may be exchanged; survives every error of the watcher.

    ``on_touch`` gets the paths where something happened; ``on_missed`` is called when something
    may have happened anywhere, and each time listening begins.
    """

    def __init__(
        self, on_touch: Callable[[Collection[Path]], None], on_missed: Callable[[], None]
    ) -> None:
        self._on_touch = on_touch
        self._on_missed = on_missed
        self._folders: Mapping[Path, Identity] = {}
        self._exchanged = asyncio.Event()
        self._logged = ""

    def listen_in(self, folders: Mapping[Path, Identity]) -> None:
        """Watch ``folders`` from now on, instead of the folders before."""
        if folders != self._folders:
            self._folders = folders
            self._exchanged.set()

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            self._exchanged.clear()
            self._on_missed()
            try:
                await self._listen(list(self._folders))
                # Folders often appear many at a time; to begin again is dear.
                await asyncio.sleep(_SETTLE_S)
            except Exception as error:
                self._log(error)
                await asyncio.sleep(PAUSE_S)

    async def _listen(self, folders: Collection[Path]) -> None:
        if not folders:
            await self._exchanged.wait()
            return
        async for batch in awatch(
            *folders,
            watch_filter=None,
            stop_event=self._exchanged,
            recursive=False,
            ignore_permission_denied=True,
        ):
            self._on_touch([Path(path) for _, path in batch])

    def _log(self, error: Exception) -> None:
        # A folder that has gone is no fault: the next look finds out.
        if isinstance(error, FileNotFoundError) or str(error) == self._logged:
            return
        self._logged = str(error)
        logger.warning("adapter folders are polled, not watched", why=quoted(error))
