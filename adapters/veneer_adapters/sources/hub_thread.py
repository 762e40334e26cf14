"""Run what blocks for an unknown time in a thread that nobody has to wait for.

The interpreter waits for the threads of ``asyncio.to_thread`` before it ends; huggingface_hub
may sleep for minutes. So the thread is its own, a daemon, and leaves at the next byte once
nobody waits for its result.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from huggingface_hub.utils.tqdm import tqdm

from veneer_adapters.errors import AdapterError
from veneer_adapters.sources.fetching import Progress, TryAgain

_T = TypeVar("_T")


class Work:
    """One download, as seen by its thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, progress: Progress) -> None:
        self._loop = loop
        self._progress = progress
        self._done = 0
        self._total: int | None = None
        self._refusal: AdapterError | None = None
        self.unwanted = threading.Event()
        """Set when nobody waits for the result any more."""

    def expect(self, sizes: Sequence[int | None]) -> None:
        """Take the sizes of the files, in bytes, as the source announces them."""
        known = [size for size in sizes if size is not None]
        self._total = sum(known) if len(known) == len(sizes) else None
        self._loop.call_soon_threadsafe(self._tell, self._done)

    def require_wanted(self) -> None:
        """Return when the result is still of use, else leave with the listener's refusal."""
        if self._refusal is not None:
            raise self._refusal
        if self.unwanted.is_set():
            raise TryAgain("Nobody waits for the download any more.")

    def received(self, count: int) -> None:
        """Count ``count`` more bytes, or fewer when a part is fetched again."""
        self.require_wanted()
        self._done += count
        if self._total is not None and self._done > self._total:
            raise TryAgain("The Hub sends more than it announced.")
        self._loop.call_soon_threadsafe(self._tell, self._done)

    def bar(self) -> type[tqdm]:
        """Return the only hook huggingface_hub has: a progress bar, which shows nothing."""
        work = self

        class Bar(tqdm):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **{**kwargs, "disable": True})  # type: ignore[no-untyped-call]

            def update(self, n: float | None = 1) -> bool | None:
                work.received(int(n or 0))
                return None

            def update_transfer(self, n: float) -> None:
                """Bytes on the wire: fewer than bytes of the file where it is compressed."""
                work.require_wanted()

        return Bar

    def _tell(self, done: int) -> None:
        try:
            self._progress(done, self._total)
        except AdapterError as error:
            self._refusal = error


async def run(function: Callable[[Work], _T], progress: Progress) -> _T:
    """Return what ``function`` returns in a thread of its own; a cancelled caller leaves it."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[_T] = loop.create_future()
    work = Work(loop, progress)

    def settle(value: _T | None, error: BaseException | None) -> None:
        if result.cancelled():
            return
        if error is not None:
            result.set_exception(error)
        else:
            result.set_result(value)  # type: ignore[arg-type] # a value unless an error

    def body() -> None:
        value, raised = None, None
        try:
            value = function(work)
        except BaseException as error:  # handed to whoever waits
            raised = error
        with suppress(RuntimeError):  # the loop is gone, and everybody who waited with it
            loop.call_soon_threadsafe(settle, value, raised)

    threading.Thread(target=body, name="veneer-hub", daemon=True).start()
    try:
        return await result
    finally:
        work.unwanted.set()
