"""One engine from its start to its end, and the work that ends with it."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from veneer_server.engine.base import Engine, EngineLost

T = TypeVar("T")


class MortalEngine(Engine, Protocol):
    """An engine that somebody watches."""

    async def ping(self) -> None:
        """Return when every process of the engine has answered."""

    def progress(self) -> tuple[int, int]:
        """Return how many outputs there have been, and how many requests have not ended."""

    def kill(self) -> None:
        """End every process of the engine at once, and remove what they leave. Blocks."""


@dataclass(eq=False, slots=True)
class Life:
    """One engine, from its start to its end."""

    engine: MortalEngine
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def during(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what ``work`` returns; it is cancelled when the engine is lost first.

        Raises:
            EngineLost: the engine was lost first.
        """
        task = asyncio.ensure_future(work)
        end = asyncio.ensure_future(self.ended.wait())
        taken = False
        try:
            await asyncio.wait((task, end), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise EngineLost("The engine stopped while it was working on this request.")
            taken = True
            return task.result()
        finally:
            for waiting in (task, end):
                waiting.cancel()
            await asyncio.gather(task, end, return_exceptions=True)
            if not taken:
                await close_unused(task)


async def close_unused(task: asyncio.Future[Any]) -> None:
    """Close what an ended ``task`` has returned, when nobody can take it any more.

    Who waits for a stream may be cancelled at the moment at which the stream arrives.
    """
    if task.cancelled() or task.exception() is not None:
        return
    aclose = getattr(task.result(), "aclose", None)
    if aclose is not None:
        await aclose()
