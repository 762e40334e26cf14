"""Stagings that can be withdrawn: those whose content has not reached the catalog."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from veneer_adapters.errors import AdapterNotFound, quoted

T = TypeVar("T")


class Withdrawable:
    """The work that goes on for each name."""

    def __init__(self) -> None:
        self._running: dict[str, set[asyncio.Task[Any]]] = {}

    async def run(
        self, name: str, work: Coroutine[Any, Any, T], give_back: Callable[[T], None]
    ) -> T:
        """Return what ``work`` returns; ``give_back`` gets it when nobody takes it.

        Raises:
            AdapterNotFound: the work was withdrawn.
        """
        task = asyncio.create_task(work)
        of_name = self._running.setdefault(name, set())
        of_name.add(task)
        returned = False
        try:
            await asyncio.wait((task,))
            if task not in of_name:
                raise AdapterNotFound(f"{quoted(name)} was removed before it was published.")
            returned = True
            return task.result()
        finally:
            await self._end(name, of_name, task)
            if not returned and not task.cancelled() and task.exception() is None:
                give_back(task.result())

    def withdraw(self, name: str) -> bool:
        """Cancel all work for ``name``; return whether there was any."""
        tasks = self._running.pop(name, set())
        for task in tasks:
            task.cancel()
        found = bool(tasks)
        tasks.clear()
        return found

    async def _end(
        self, name: str, of_name: set[asyncio.Task[Any]], task: asyncio.Task[Any]
    ) -> None:
        of_name.discard(task)
        if not of_name and self._running.get(name) is of_name:
            del self._running[name]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
