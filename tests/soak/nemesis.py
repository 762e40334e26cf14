"""Who breaks something every minute, and writes down when."""

import asyncio
import os
import signal
import sqlite3
import time
from collections.abc import Callable

from soak.ledger import Trouble
from soak.world import World
from support import disks

_LOCKED_S = 2.0
_FULL_S = 3.0
_AFTERWARDS_S = 2.0
"""So long after a recovery a request may still have met the trouble."""


class Nemesis:
    """Breaks one thing after the other, in order."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.troubles: list[Trouble] = []
        self._ways: list[tuple[str, Callable[[], None]]] = [
            ("kill -9 of the gateway", world.kill),
            ("kill -9 of the engine core", lambda: self._signal(0, signal.SIGKILL)),
            ("a lock on the database for 2 s", self._lock),
            *([("a full disk for 3 s", self._fill)] if world.own_disk else []),
            ("SIGSTOP of the engine's worker", lambda: self._signal(1, signal.SIGSTOP)),
            ("kill -9 of a worker", lambda: self._signal(1, signal.SIGKILL)),
        ]

    async def run(self, stopping: asyncio.Event, every_s: float) -> None:
        """Break something every ``every_s`` seconds until ``stopping`` is set."""
        stop = asyncio.ensure_future(stopping.wait())
        number = 0
        while not (await asyncio.wait({stop}, timeout=every_s))[0]:
            name, way = self._ways[number % len(self._ways)]
            trouble = Trouble(
                name,
                time.monotonic(),
                float("inf"),
                kills_gateway="gateway" in name,
                excuses="for" not in name,
            )
            self.troubles.append(trouble)
            print(f"  {name}", flush=True)
            await asyncio.to_thread(way)
            await asyncio.to_thread(self._world.until_ready)
            trouble.until_s = time.monotonic() + _AFTERWARDS_S
            print(f"    ready again after {time.monotonic() - trouble.since_s:.1f} s", flush=True)
            number += 1

    def _signal(self, which: int, signal_: signal.Signals) -> None:
        lost = self._world.engine()
        os.kill(lost[min(which, len(lost) - 1)].pid, signal_)
        ends_s = time.monotonic() + 60
        while self._world.is_ready() and time.monotonic() < ends_s:
            time.sleep(0.05)

    def _lock(self) -> None:
        database = sqlite3.connect(self._world.state / "catalog.db")
        database.execute("BEGIN EXCLUSIVE")
        time.sleep(_LOCKED_S)
        database.rollback()
        database.close()

    def _fill(self) -> None:
        with disks.filled(self._world.state):
            time.sleep(_FULL_S)
