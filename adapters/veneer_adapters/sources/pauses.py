"""Which sources asked to be left alone, and for how long.

A source limits whoever asks, not what is asked for. So a pause holds for all that it has.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from cachetools import TLRUCache

LONGEST_S = 600.0
"""The longest pause in seconds, whatever a source asks for: its clock may be wrong."""
_MOST = 1000
_DIGITS = 9


def asked_pause_s(text: str, *, now: Callable[[], float] = time.time) -> float | None:
    """Return how many seconds the header ``Retry-After`` means, None if it means nothing.

    The header is a number of seconds or a date. ``now`` returns the time since 1970.
    """
    if text.isascii() and text.isdecimal():
        return float(text) if len(text) <= _DIGITS else None
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    known = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max((known - datetime.fromtimestamp(now(), UTC)).total_seconds(), 0.0)


class Pauses:
    """The pauses that go on now, by whoever asked for them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends_s: TLRUCache[str, float] = TLRUCache(_MOST, ttu=_end, timer=clock)

    def begin(self, source: str, pause_s: float) -> None:
        """Leave ``source`` alone for ``pause_s`` from now on, at most ``LONGEST_S``."""
        if pause_s > 0:
            self._ends_s[source] = self._clock() + min(pause_s, LONGEST_S)

    def left_s(self, source: str) -> float:
        """Return how many seconds the pause of ``source`` still takes; 0.0 without one."""
        return max(self._ends_s.get(source, 0.0) - self._clock(), 0.0)


def _end(source: str, ends_s: float, now_s: float) -> float:
    return ends_s
