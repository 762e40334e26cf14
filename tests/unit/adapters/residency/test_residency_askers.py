"""Who waits for an adapter, and to whom a load belongs."""

import asyncio
from contextvars import ContextVar
from pathlib import Path

from support.fake_engine import A, B, FakeEngine, Rig, bounded, hold, settle
from veneer_adapters.catalog.revision import Revision
from veneer_adapters.residency.residency import Residency


async def test_what_requests_wait_for_is_told_until_it_is_usable() -> None:
    rig = Rig()
    rig.host.held = True
    release = asyncio.Event()
    async with bounded() as tasks:
        tasks.create_task(hold(rig, A, release))
        await settle()
        assert rig.residency.waiting() == [A.engine_name]
        rig.host.finish()
        await settle()
        assert rig.residency.waiting() == []
        release.set()


ASKER: ContextVar[str] = ContextVar("asker", default="nobody")


class Listening(FakeEngine):
    """Remembers in whose context each adapter was loaded."""

    def __init__(self, *, device_slots: int, host_slots: int) -> None:
        super().__init__(device_slots=device_slots, host_slots=host_slots)
        self.askers: dict[str, str] = {}

    async def load_adapter(self, engine_id: int, engine_name: str, path: Path) -> None:
        self.askers[engine_name] = ASKER.get()
        await super().load_adapter(engine_id, engine_name, path)


async def test_a_load_runs_in_the_context_of_who_waits_not_of_who_made_room() -> None:
    host = Listening(device_slots=1, host_slots=2)
    residency = Residency(host, device_slots=1, host_slots=2, load_timeout_s=5)
    leave = asyncio.Event()

    async def ask(revision: Revision, wait_for: asyncio.Event | None = None) -> None:
        ASKER.set(revision.adapter)
        async with residency.lease(revision):
            if wait_for is not None:
                await wait_for.wait()

    async with bounded() as tasks:
        tasks.create_task(ask(A, leave))
        await settle()
        tasks.create_task(ask(B))
        await settle()
        leave.set()
    assert host.askers == {A.engine_name: "a", B.engine_name: "b"}
