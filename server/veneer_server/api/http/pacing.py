"""One system call for what a stream writes within a short time, while many streams write.

To send a piece of a stream costs more than all else that is done for it. So while the server writes
a lot, pieces that follow the last one within an interval wait for its end, and go together. Nothing
waits longer than an interval, nor at all while little is written.
"""

import asyncio
from collections.abc import Callable

_MANY = 32
"""Pieces in one interval from which on they are gathered in the next."""


class Load:
    """Whether much is written, from the times of the pieces. It reads no clock."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._since_s = float("-inf")
        self._count = 0
        self._is_high = False

    def may_wait(self, now_s: float, last_s: float) -> bool:
        """Count a piece; return whether it may wait, since its stream was written at ``last_s``."""
        since_s = now_s - self._since_s
        if since_s >= self._interval_s:
            self._is_high = self._count >= _MANY and since_s < 2 * self._interval_s
            self._since_s, self._count = now_s, 0
        self._count += 1
        return self._is_high and now_s - last_s < self._interval_s


class Pacer:
    """Lets the pieces of all streams of a server wait for the same end of an interval."""

    def __init__(self, interval_s: float) -> None:
        """Gather for ``interval_s``; 0 gathers nothing."""
        self._interval_s = interval_s
        self._load = Load(interval_s)
        self._flushes: list[Callable[[], None]] = []

    def may_wait(self, now_s: float, last_s: float) -> bool:
        """Count a piece; return whether it may wait, as ``Load`` says."""
        return self._interval_s > 0 and self._load.may_wait(now_s, last_s)

    def at_end(self, flush: Callable[[], None]) -> None:
        """Call ``flush`` within an interval."""
        if not self._flushes:
            asyncio.get_running_loop().call_later(self._interval_s, self._end)
        self._flushes.append(flush)

    def _end(self) -> None:
        flushes, self._flushes = self._flushes, []
        for flush in flushes:
            flush()
