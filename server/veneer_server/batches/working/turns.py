"""Turns of lines: as many at a time as live traffic leaves room for, shared by all batches."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from veneer_server.batches.pace import Live, Pace, Room, next_holder, paced

LOOK_S = 0.2
"""The pause between two looks at live traffic, in seconds."""


class Turns:
    """Gives turns to batches. For one event loop."""

    def __init__(
        self,
        live: Callable[[], Live],
        room: Room,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Give as many turns at a time as there is ``room`` for beside ``live`` requests."""
        self.most = room.alone
        self._live = live
        self._room = room
        self._clock = clock
        self._pace = Pace(at_s=clock())
        self._running: Counter[str] = Counter()
        self._waiting: list[tuple[str, asyncio.Event]] = []

    async def run(self) -> None:
        """Look at live traffic again and again, until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_S)

    def look(self) -> None:
        """Fit the pace to the live traffic of this moment."""
        self._pace = paced(self._pace, now_s=self._clock(), live=self._live(), room=self._room)
        self._grant()

    @asynccontextmanager
    async def one(self, batch: str) -> AsyncIterator[None]:
        """Hold a turn of ``batch`` until the block ends; wait for it as long as it takes."""
        granted = asyncio.Event()
        self._waiting.append((batch, granted))
        self._grant()
        try:
            await granted.wait()
            yield
        finally:
            if granted.is_set():
                self._running[batch] -= 1
                self._running += Counter()  # forget who has no turn
            else:
                self._waiting.remove((batch, granted))
            self._grant()

    def _grant(self) -> None:
        while self._waiting and self._running.total() < self._pace.allowed:
            batch = next_holder([name for name, _ in self._waiting], self._running)
            place = next(p for p, (name, _) in enumerate(self._waiting) if name == batch)
            name, granted = self._waiting.pop(place)
            self._running[name] += 1
            granted.set()
