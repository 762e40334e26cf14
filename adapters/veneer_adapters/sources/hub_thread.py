"""Run a function that blocks for an unknown time in a thread that nobody has to wait for.

The interpreter waits for the threads of ``asyncio.to_thread`` before it ends, and huggingface_hub
may sleep for minutes. So each download has a daemon thread of its own. The thread stops at the next
byte once nobody waits for its result.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from huggingface_hub.utils.tqdm import tqdm

from veneer_adapters.errors import AdapterError
from veneer_adapters.sources.fetching import OnBytes, TryAgain

_T = TypeVar("_T")


class Work:
    """One download, as its thread sees it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_bytes: OnBytes) -> None:
        self._loop = loop
        self._progress = on_bytes
        self._done = 0
        self._total: int | None = None
        self._refusal: AdapterError | None = None
        self.unwanted = threading.Event()
        """Set when nobody waits for the result any more."""

    def expect(self, sizes: Sequence[int | None]) -> None:
        """Take the sizes of the files in bytes, as the source announces them."""
        known = [size for size in sizes if size is not None]
        self._total = sum(known) if len(known) == len(sizes) else None
        self._loop.call_soon_threadsafe(self._tell, self._done)

    def require_wanted(self) -> None:
        """Return when somebody still wants the result.

        Raises:
            AdapterError: the one that ``on_bytes`` raised.
            TryAgain: nobody waits for the result any more.
        """
        if self._refusal is not None:
            raise self._refusal
        if self.unwanted.is_set():
            raise TryAgain("Nobody waits for the download any more.")

    def received(self, count: int) -> None:
        """Count ``count`` more bytes; negative when a part is fetched again."""
        self.require_wanted()
        self._done += count
        if self._total is not None and self._done > self._total:
            raise TryAgain("The Hub sends more than it announced.")
        self._loop.call_soon_threadsafe(self._tell, self._done)

    def bar(self) -> type[tqdm]:
        """Return the only hook that huggingface_hub has: a progress bar, which shows nothing."""
        work = self

        class Bar(tqdm):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **{**kwargs, "disable": True})  # type: ignore[no-untyped-call]

            def update(self, n: float | None = 1) -> bool | None:
                work.received(int(n or 0))
                return None

            def update_transfer(self, n: float) -> None:
                """Do not count bytes on the wire: a compressed file has fewer of them."""
                work.require_wanted()

        return Bar

    def _tell(self, done: int) -> None:
        try:
            self._progress(done, self._total)
        except AdapterError as error:
            self._refusal = error


class Threads:
    """At most ``limit`` downloads at once; those that nobody waits for any more count too."""

    def __init__(self, limit: int = 8) -> None:
        self._limit = limit
        self._running: set[threading.Thread] = set()

    async def run(self, function: Callable[[Work], _T], on_bytes: OnBytes) -> _T:
        """Return what ``function`` returns in a thread.

        A cancelled caller does not wait for the thread.

        Raises:
            TryAgain: there are too many threads.
        """
        self._running = {thread for thread in self._running if thread.is_alive()}
        if len(self._running) >= self._limit:
            raise TryAgain("Too many downloads from the Hub have not ended yet.")
        work = Work(asyncio.get_running_loop(), on_bytes)
        result: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        thread = threading.Thread(
            target=_work, args=(function, work, result), name="veneer-hub", daemon=True
        )
        thread.start()
        self._running.add(thread)
        try:
            return await result
        finally:
            work.unwanted.set()


def _work(function: Callable[[Work], _T], work: Work, result: asyncio.Future[_T]) -> None:
    try:
        value = function(work)
    except BaseException as error:  # given to the caller that waits
        settle = partial(_settle, result, result.set_exception, error)
    else:
        settle = partial(_settle, result, result.set_result, value)
    with suppress(RuntimeError):  # the loop is closed, so nobody waits
        result.get_loop().call_soon_threadsafe(settle)


def _settle(result: asyncio.Future[_T], settle: Callable[[Any], None], what: object) -> None:
    if not result.done():
        settle(what)
