"""Regular work on files: what is expired goes, and so does content that no file has."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from veneer_server.files import rows
from veneer_server.files.errors import FileFault
from veneer_server.files.files import Files

logger = structlog.get_logger(__name__)

PAUSE_S = 60.0
_SWEEP_EVERY = 60
_SILENT_S = 3600.0
"""An upload to which nothing came for so long is over: a slow one gets some bytes each second."""


class FileUpkeep:
    """Keeps files no longer than they may stay, and nothing on disk that belongs to none."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._failing: set[str] = set()

    async def run(self) -> None:
        """Work until cancelled. A failure is logged once until it is over."""
        # Nobody else writes to this folder, so what arrives there arrived at a server that is dead.
        await self._try("uploads not cleared", lambda: self.clear(shared=self._files.shared))
        turn = 0
        while True:
            await self._try("expired files not removed", self._files.delete_expired)
            if turn % _SWEEP_EVERY == 0:
                await self._try("unused content not removed", self.sweep)
            turn += 1
            await asyncio.sleep(PAUSE_S)

    async def clear(self, *, shared: bool) -> None:
        """Remove what is left of uploads whose server is dead."""
        silent_s = _SILENT_S if shared else 0.0
        await asyncio.to_thread(self._files.contents.clear, silent_s=silent_s)

    async def sweep(self) -> None:
        """Remove content that no file has: a server died between the two."""
        digests = await asyncio.to_thread(lambda: list(self._files.contents.digests()))
        for begin in range(0, len(digests), rows.BATCH):
            await self._files.remove_unused(digests[begin : begin + rows.BATCH])

    async def _try(self, what: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except FileFault as error:
            if what not in self._failing:
                logger.warning(what, why=str(error))
            self._failing.add(what)
        else:
            self._failing.discard(what)
