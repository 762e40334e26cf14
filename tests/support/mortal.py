"""An engine that dies or hangs when the test says so, and comes back when the test lets it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from veneer_server.engine.base import Answer, Call, EngineNotStarted, Frames
from veneer_server.engine.echo import EchoEngine
from veneer_server.engine.restarts import RestartPolicy
from veneer_server.engine.supervision import Loss, SupervisedEngine

SOON = RestartPolicy(first_delay_s=0.0, most=3)
STALL_S = 0.2


class MortalEcho(EchoEngine):
    """Echoes; ``hang`` makes every call wait for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.hanging = asyncio.Event()
        self.asked = asyncio.Event()
        """Set when a request came while it hung."""
        self.killed = 0

    def hang(self) -> None:
        self.hanging.set()

    async def respond(self, call: Call) -> Answer | Frames:
        await self._hang()
        return await super().respond(call)

    async def ping(self) -> None:
        if self.hanging.is_set():
            await asyncio.Event().wait()

    async def unload_adapter(self, engine_id: int) -> None:
        await self._hang()
        await super().unload_adapter(engine_id)

    def kill(self) -> None:
        self.killed += 1
        super().kill()

    async def _hang(self) -> None:
        if self.hanging.is_set():
            self.asked.set()
            await asyncio.Event().wait()


class Recovered:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.losses: list[Loss] = []
        self.restored = 0
        self.gate = asyncio.Event()
        self.gate.set()
        """Restoring waits for it."""

    def lost(self, reason: Loss) -> None:
        self.losses.append(reason)

    async def restore(self) -> None:
        await self.gate.wait()
        self.restored += 1


class Factory:
    """Starts engines, and keeps those it started."""

    def __init__(self) -> None:
        self.engines = [MortalEcho()]
        self.failures = 0
        """So many of the next starts fail."""
        self.gate = asyncio.Event()
        self.gate.set()
        """A start waits for it."""

    async def start(self) -> MortalEcho:
        await self.gate.wait()
        if self.failures:
            self.failures -= 1
            raise EngineNotStarted("There is no memory for it.")
        self.engines.append(MortalEcho())
        return self.engines[-1]


@asynccontextmanager
async def supervised(
    factory: Factory,
    recovery: Recovered,
    *,
    restart_wait_s: float = 0.0,
    gives_up: bool = False,
    policy: RestartPolicy = SOON,
) -> AsyncIterator[SupervisedEngine]:
    """Run a supervised engine; what ``run`` raises is raised when the block ends.

    An engine that ``gives_up`` is awaited until it does; otherwise it is stopped.
    """
    engine = SupervisedEngine(
        factory.engines[0],
        factory.start,
        stall_timeout_s=STALL_S,
        restart_wait_s=restart_wait_s,
        policy=policy,
        look_s=0.005,
    )
    task = asyncio.create_task(engine.run(recovery))
    try:
        async with asyncio.timeout(10):
            yield engine
    finally:
        if not gives_up:
            task.cancel()
        await asyncio.wait([task], timeout=10)
    if not task.cancelled():
        task.result()


async def until(is_so: Callable[[], bool]) -> None:
    """Return once ``is_so``; the caller's timeout bounds the wait."""
    while not is_so():
        await asyncio.sleep(0.005)
