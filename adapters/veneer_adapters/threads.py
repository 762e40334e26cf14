"""Threads for one kind of blocking work, so that no other kind waits behind it.

``asyncio.to_thread`` has one pool for everything, with six threads on two cores. When six large
files were read there, scrapes, looks at folders and loads waited until the reading was done.
"""

import asyncio
import contextvars
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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
