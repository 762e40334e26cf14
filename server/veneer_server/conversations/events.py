"""The events of a stream, kept for a while so that a client can read on after a break."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from veneer_server.conversations.errors import StateRefused


class EventLog:
    """Numbered events; readers may come at any time and begin anywhere.

    Beyond ``most_bytes`` the first events are forgotten.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._events: deque[bytes] = deque()
        self._first = 0
        self._changed = asyncio.Event()
        self.size = 0
        """How many bytes the events have."""
        self.closed = False
        """Whether nothing more will come."""

    @property
    def end(self) -> int:
        """Return the number of the next event."""
        return self._first + len(self._events)

    def add(self, event: bytes) -> None:
        """Add the next event."""
        self._events.append(event)
        self.size += len(event)
        while self.size > self._most_bytes and len(self._events) > 1:
            self.size -= len(self._events.popleft())
            self._first += 1
        self._wake()

    def close(self) -> None:
        """Let every reader end when it has read all events."""
        self.closed = True
        self._wake()

    async def read(self, after: int) -> AsyncIterator[bytes]:
        """Yield every event with a number above ``after``, also those that come later.

        Raises:
            StateRefused: the next event is forgotten.
        """
        following = after + 1
        while True:
            if following < self._first:
                raise StateRefused(
                    f"The events before number {self._first} are no longer kept; retrieve the"
                    " response without 'stream'.",
                    param="starting_after",
                )
            if following < self.end:
                yield self._events[following - self._first]
                following += 1
            elif self.closed:
                return
            else:
                await self._changed.wait()

    def _wake(self) -> None:
        # Each change has its own event, so that no reader misses one or is woken twice.
        self._changed.set()
        self._changed = asyncio.Event()
