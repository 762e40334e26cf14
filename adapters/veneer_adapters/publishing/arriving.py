"""Wait for an adapter whose folder has just appeared, where a request already asks for it.

A trainer writes a folder and asks for it at once. The watch reports a folder only when it has been
quiet for a while, so without this the first requests would be told that there is no such model.
"""

import asyncio
import os.path
from collections.abc import Callable, Collection, Sequence

from veneer_adapters.artifact.files import CONFIG_FILE
from veneer_adapters.errors import SourceChanging
from veneer_adapters.names import is_adapter_name
from veneer_adapters.sources.base import Root

_PAUSE_S = 0.05


class Arriving:
    """Looks for unknown names in the watched folders, and waits until the catalog knows them."""

    def __init__(
        self,
        roots: Sequence[Root],
        knows: Callable[[str], bool],
        *,
        reserved: Collection[str] = (),
        longest_s: float = 10.0,
    ) -> None:
        """``reserved`` names are never looked for. One wait takes at most ``longest_s``."""
        self._roots = [root.resolved() for root in roots]
        self._knows = knows
        self._reserved = frozenset(reserved)
        self._longest_s = longest_s
        self._running: dict[str, asyncio.Task[None]] = {}

    async def arrive(self, name: str) -> None:
        """Return when ``name`` is known; at once when it is, or when no folder has it.

        Requests for the same name wait together. A caller that leaves ends nobody else's wait.

        Raises:
            SourceChanging: its folder is there, and did not become an adapter in time.
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
        if not await asyncio.to_thread(self._is_there, name):
            return
        try:
            async with asyncio.timeout(self._longest_s):
                while not self._knows(name):
                    await asyncio.sleep(_PAUSE_S)
        except TimeoutError as error:
            if await asyncio.to_thread(self._is_there, name):
                raise SourceChanging("The adapter's folder is there, but not ready yet.") from error

    def _is_there(self, name: str) -> bool:
        return any(os.path.isfile(root.path / name / CONFIG_FILE) for root in self._roots)
