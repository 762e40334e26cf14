"""Work that goes on as long as the server: watched, started again, and reported when it cannot.

A task that ends although it should not is logged and started again, after a pause that doubles.
After ``_FAILING`` failures without a good hour between them the server says that it is not
ready. A task may also end the server: it raises one of the ``fatal`` errors.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

logger = structlog.get_logger(__name__)

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 60.0
_FAILING = 3
_GOOD_S = 3600.0

Work = Callable[[], Coroutine[Any, Any, None]]


class Background:
    """The long-running tasks of one server."""

    def __init__(
        self,
        *,
        fatal: tuple[type[Exception], ...] = (),
        clock: Callable[[], float] = time.monotonic,
        first_pause_s: float = _FIRST_PAUSE_S,
    ) -> None:
        """Start tasks again, except after one of the ``fatal`` errors."""
        self._fatal = fatal
        self._clock = clock
        self._first_pause_s = first_pause_s
        self._tasks: list[asyncio.Task[None]] = []
        self._failures: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def start(self, name: str, work: Work, *, once: bool = False) -> None:
        """Run ``work`` until ``close``; with ``once`` it may end by itself."""
        self._tasks.append(asyncio.create_task(self._keep(name, work, once=once), name=name))

    def failing(self) -> list[str]:
        """Return the names of the tasks that failed again and again."""
        return sorted(name for name, count in self._failures.items() if count >= _FAILING)

    async def wait_for(self, event: asyncio.Event, name: str) -> bool:
        """Return whether ``event`` was set; False when the task ``name`` fails again and again."""
        happened = asyncio.ensure_future(event.wait())
        try:
            while not happened.done() and name not in self.failing():
                self._changed.clear()
                changed = asyncio.ensure_future(self._changed.wait())
                await asyncio.wait((happened, changed), return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
        finally:
            happened.cancel()
        return event.is_set()

    async def until_over(self) -> None:
        """Return never; raise the fatal error of a task as soon as there is one."""
        await asyncio.shield(self._over)

    async def close(self) -> None:
        """Cancel every task, and return when all have ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._over.cancel()

    async def _keep(self, name: str, work: Work, *, once: bool) -> None:
        pause_s = self._first_pause_s
        while True:
            began_s = self._clock()
            try:
                await work()
                if once:
                    return
                logger.error("background task ended", task=name)
            except self._fatal as error:
                self._end(error)
                return
            except Exception as error:
                logger.error("background task failed", task=name, exc_info=error)
            if self._clock() - began_s > _GOOD_S:
                pause_s, self._failures[name] = self._first_pause_s, 0
            self._failures[name] = self._failures.get(name, 0) + 1
            self._changed.set()
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _end(self, error: Exception) -> None:
        logger.error("the server ends", why=str(error))
        if not self._over.done():
            self._over.set_exception(error)
            # Also when nobody waits for it, for instance during the start.
            self._over.exception()
