"""Many small writes in few transactions: whatever waits when one ends goes into the next.

A transaction costs a flush to disk, however much is in it. So under load each one has more in it,
and nobody waits longer than for two of them.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")

_MOST = 64
"""Most entries of one transaction."""


class Batching(Generic[T]):
    """Hands entries to ``write``, as many at a time as wait."""

    def __init__(self, write: Callable[[Sequence[T]], Awaitable[None]]) -> None:
        """``write`` writes all entries that it gets, or none and raises."""
        self._write = write
        self._waiting: deque[tuple[T, asyncio.Future[None]]] = deque()
        self._writer: asyncio.Task[None] | None = None

    async def put(self, entry: T) -> None:
        """Return when ``entry`` is written; raise what ``write`` raised.

        An entry is written also when its caller is cancelled meanwhile.
        """
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, written))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_all())
        await written

    async def _write_all(self) -> None:
        while self._waiting:
            room = min(len(self._waiting), _MOST)
            batch = [self._waiting.popleft() for _ in range(room)]
            error = await self._try([entry for entry, _ in batch])
            for _, written in batch:
                if written.done():
                    continue
                if error is None:
                    written.set_result(None)
                else:
                    written.set_exception(error)

    async def _try(self, entries: Sequence[T]) -> Exception | None:
        try:
            await self._write(entries)
        except Exception as error:
            return error
        return None
