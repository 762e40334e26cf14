"""Work on a large body, in a thread beside the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_LITTLE_BYTES = 65536
"""With so much there is nothing to do that takes longer than a millisecond or two."""


class Apart:
    """One thread for large bodies, so that at most one of them takes turns with the event loop.

    Each step of the work still keeps the interpreter's lock, but other work comes in between.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="large-body")

    async def run(self, size_bytes: int, act: Callable[[], T]) -> T:
        """Return what ``act`` returns, which works on so many bytes; it may not await."""
        if size_bytes <= _LITTLE_BYTES:
            return act()
        return await asyncio.get_running_loop().run_in_executor(self._thread, act)

    def close(self) -> None:
        """Begin no further work in the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)
