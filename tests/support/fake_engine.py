"""An engine that keeps count of its slots and finishes each call when the test says so."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path

from support import builders
from veneer_adapters.catalog.proof import Effect
from veneer_adapters.catalog.revision import Revision
from veneer_adapters.events import AdapterEvent
from veneer_adapters.residency.residency import Lease, Residency

A, B, C, D = (builders.revision(name, digit) for name, digit in zip("abcd", "1234", strict=True))


class EngineBroken(Exception):
    """What the engine raises when the test wants it to."""


SOME_EFFECT = Effect(modules=2, largest_change=1.0, finite=True, repeats=False)


class FakeEngine:
    """Fails the test at once when it would have to hold more than it has room for."""

    def __init__(self, *, device_slots: int, host_slots: int) -> None:
        self.device_slots, self.host_slots = device_slots, host_slots
        self.device: set[int] = set()
        self.host: set[int] = set()
        self.seen: set[int] = set()
        self.names: dict[int, str] = {}
        self.calls: list[str] = []
        self.pending: list[tuple[str, asyncio.Future[None]]] = []
        self.held = False
        """While true every call waits in ``pending`` until the test finishes it."""
        self.broken: set[str] = set()
        """Calls that raise, as they are written in ``calls``."""
        self.effects: dict[str, Effect] = {}
        """What ``measure_effect`` finds by adapter, where it is not ``SOME_EFFECT``."""

    async def load_adapter(self, engine_id: int, engine_name: str, path: Path) -> None:
        assert engine_id not in self.seen, "an engine id was used twice"
        self.seen.add(engine_id)
        self.names[engine_id] = engine_name.partition("@")[0]
        self.host.add(engine_id)
        self.device.add(engine_id)
        await self._call("load", engine_id)

    async def activate_adapter(self, engine_id: int) -> None:
        assert engine_id in self.host
        self.device.add(engine_id)
        await self._call("activate", engine_id)

    async def deactivate_adapter(self, engine_id: int) -> None:
        await self._call("deactivate", engine_id)
        self.device.discard(engine_id)

    async def unload_adapter(self, engine_id: int) -> None:
        await self._call("unload", engine_id)
        self.device.discard(engine_id)
        self.host.discard(engine_id)

    async def measure_effect(self, engine_id: int, engine_name: str) -> Effect:
        assert engine_id in self.device
        await self._call("measure", engine_id)
        return self.effects.get(self.names[engine_id], SOME_EFFECT)

    async def _call(self, verb: str, engine_id: int) -> None:
        self.check()
        call = f"{verb} {self.names[engine_id]}"
        self.calls.append(call)
        if self.held:
            finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.pending.append((call, finished))
            await finished
        if call in self.broken:
            raise EngineBroken(call)

    def check(self) -> None:
        """Raise when vLLM's own caches would have had to evict."""
        assert len(self.device) <= self.device_slots
        assert len(self.host) <= self.host_slots - 1
        assert self.device <= self.host

    def finish(self, index: int = 0, error: Exception | None = None) -> None:
        """Let one pending call come to its end."""
        _, finished = self.pending.pop(index)
        if finished.done():
            return
        if error is None:
            finished.set_result(None)
        else:
            finished.set_exception(error)


async def settle() -> None:
    """Let every task run until it waits for something the test decides."""
    for _ in range(30):
        await asyncio.sleep(0)


class Recorder:
    def __init__(self) -> None:
        self.events: list[tuple[str, ...]] = []

    def on_event(self, event: AdapterEvent) -> None:
        fields = asdict(event)
        fields.pop("seconds", None)
        self.events.append((type(event).__name__, *map(str, fields.values())))


class Rig:
    """A residency over a fake engine; 2 device slots and 3 usable host slots by default."""

    def __init__(
        self,
        *,
        device: int = 2,
        host: int = 4,
        timeout_s: float = 60.0,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.host = FakeEngine(device_slots=device, host_slots=host)
        self.recorder = Recorder()
        ticks = itertools.count()
        self.residency = Residency(
            self.host,
            device_slots=device,
            host_slots=host,
            load_timeout_s=timeout_s,
            clock=clock or (lambda: float(next(ticks))),
            observer=self.recorder,
        )

    async def use(self, *revisions: Revision) -> None:
        """Lease each revision for a moment, one after the other."""
        for revision in revisions:
            async with self.residency.lease(revision):
                pass
        await settle()

    def levels(self) -> dict[str, str]:
        return {r.adapter: r.level for r in self.residency.snapshot()}


@asynccontextmanager
async def bounded() -> AsyncIterator[asyncio.TaskGroup]:
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        yield tasks


async def hold(rig: Rig, revision: Revision, until: asyncio.Event) -> Lease:
    async with rig.residency.lease(revision) as lease:
        await until.wait()
    return lease
