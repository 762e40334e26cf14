"""Wait for an adapter whose folder has just appeared, where a request already asks for it.

A trainer writes a folder and asks for it at once. The watch reports a folder only when it has been
quiet for a while, so without this the first requests would be told that there is no such model.
"""

import asyncio
import os.path
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from veneer_adapters.artifact.files import CONFIG_FILE
from veneer_adapters.errors import SourceChanging, StorageFailed
from veneer_adapters.names import is_adapter_name
from veneer_adapters.sources.base import Root
from veneer_adapters.threads import Threads

_PAUSE_S = 0.05
_LOOKS_AT_ONCE = 2


class Arriving:
    """Looks for unknown names in the watched folders, and waits until the catalog knows them."""

    def __init__(
        self,
        roots: Sequence[Root],
        knows: Callable[[str], bool],
        *,
        reserved: Collection[str] = (),
        longest_s: float = 10.0,
        is_file: Callable[[Path], bool] = os.path.isfile,
    ) -> None:
        """``reserved`` names are never looked for. A look and a wait take ``longest_s`` at most."""
        self._roots = [root.resolved() for root in roots]
        self._knows = knows
        self._reserved = frozenset(reserved)
        self._longest_s = longest_s
        self._is_file = is_file
        self._threads = Threads("arriving", _LOOKS_AT_ONCE)
        self._running: dict[str, asyncio.Task[None]] = {}

    async def arrive(self, name: str) -> None:
        """Return when ``name`` is known; at once when it is, or when no folder has it.

        Requests for the same name wait together. A caller that leaves ends nobody else's wait.

        Raises:
            SourceChanging: its folder is there, and did not become an adapter in time.
            StorageFailed: the disk with the folders did not answer in time.
        """
        if self._knows(name) or name in self._reserved or not is_adapter_name(name):
            return
        if name not in self._running:
            task = asyncio.create_task(self._wait(name))
            self._running[name] = task
            task.add_done_callback(lambda done: self._finish(name, done))
        await asyncio.shield(self._running[name])

    def _finish(self, name: str, task: asyncio.Task[None]) -> None:
        del self._running[name]
        if not task.cancelled():
            task.exception()  # seen, also when every caller has gone

    async def _wait(self, name: str) -> None:
        if not await self._look(name):
            return
        try:
            async with asyncio.timeout(self._longest_s):
                while not self._knows(name):
                    await asyncio.sleep(_PAUSE_S)
        except TimeoutError as error:
            if await self._look(name):
                raise SourceChanging("The adapter's folder is there, but not ready yet.") from error

    async def _look(self, name: str) -> bool:
        try:
            async with asyncio.timeout(self._longest_s):
                return await self._threads.run(self._is_there, name)
        except TimeoutError as error:
            raise StorageFailed("The watched folders do not answer now.") from error

    def _is_there(self, name: str) -> bool:
        return any(self._is_file(root.path / name / CONFIG_FILE) for root in self._roots)
