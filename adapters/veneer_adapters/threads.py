"""Threads for one kind of blocking work, so that no other kind waits behind it.

``asyncio.to_thread`` has one pool for everything, with six threads on two cores. When six large
files were read there, scrapes, looks at folders and loads waited until the reading was done.
"""

import asyncio
import contextvars
import functools
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """A pool of its own. What waits for a thread begins in the order in which it came."""

    def __init__(self, name: str, most: int) -> None:
        """Run at most ``most`` calls at a time; a thread starts when it is first needed."""
        self._pool = ThreadPoolExecutor(most, thread_name_prefix=name)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what ``function`` returns, called in one of the threads, as ``to_thread`` does.

        A call that has begun goes on when its caller is cancelled; another one never begins.
        """
        context = contextvars.copy_context()
        call = functools.partial(context.run, function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    def close(self) -> None:
        """Begin no further call; return at once."""
        self._pool.shutdown(wait=False, cancel_futures=True)


async def to_its_end(work: Awaitable[T]) -> T:
    """Return what ``work`` returns. A cancelled caller is cancelled once the work has ended.

    For work that must not be left half done, and for a thread, which nobody can stop: nothing else
    may touch what it still writes to.
    """
    working = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        while not working.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait((working,))
        if not working.cancelled():
            working.exception()  # nobody else will ask for it
        raise


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what ``function`` returns in a thread; a cancelled caller waits for it to end."""
    return await to_its_end(asyncio.to_thread(function, *args, **kwargs))
