"""Who may wait for a sequence of the engine, and when somebody who may not should ask again.

The engine generates ``max_seqs`` sequences at a time. Further requests wait in its queue, which has
no bound of its own: their clients would only learn by a timeout that they are too many.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

_REMEMBERED = 64
_LONGEST_S = 60


class Overloaded(Exception):
    """Too many sequences wait already."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        """``retry_after_s`` is when half of those that wait now will have begun."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


def sequences_of(body: Mapping[str, Any]) -> int:
    """Return how many sequences the engine generates for ``body``: ``n`` for each prompt."""
    n, prompt = body.get("n"), body.get("prompt")
    several = isinstance(prompt, list) and prompt and not isinstance(prompt[0], int)
    return (n if isinstance(n, int) else 1) * (len(prompt) if several and prompt else 1)


def retry_after_s(waiting: int, ended_per_s: float) -> int:
    """Return in how many seconds half of the ``waiting`` will have begun, between 1 and 60."""
    if ended_per_s <= 0:
        return _LONGEST_S
    return min(max(math.ceil(waiting / 2 / ended_per_s), 1), _LONGEST_S)


class Admission:
    """Counts the sequences that generate or wait."""

    def __init__(
        self, max_seqs: int, max_queue: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Let ``max_queue`` sequences wait while ``max_seqs`` generate."""
        self._max_seqs = max_seqs
        self._max_queue = max_queue
        self._clock = clock
        self._admitted = 0
        self._ends: deque[float] = deque(maxlen=_REMEMBERED)

    @contextmanager
    def place(self, sequences: int) -> Iterator[None]:
        """Hold a place for ``sequences`` until the block ends.

        A request gets a place for all of its sequences, or none.

        Raises:
            Overloaded: ``max_queue`` sequences wait already.
        """
        waiting = self._admitted - self._max_seqs
        if waiting >= self._max_queue:
            raise Overloaded(
                f"The server is overloaded: {waiting} answers wait for their turn. Try later.",
                retry_after_s=retry_after_s(waiting, self._ended_per_s()),
            )
        self._admitted += sequences
        try:
            yield
        finally:
            self._admitted -= sequences
            self._ends.extend([self._clock()] * sequences)

    def _ended_per_s(self) -> float:
        if not self._ends:
            return 0.0
        return len(self._ends) / max(self._clock() - self._ends[0], 0.001)
