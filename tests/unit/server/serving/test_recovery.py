"""What comes back after a restart of the engine, and who is blamed for it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from support import builders
from support.fake_engine import SOME_EFFECT, FakeEngine
from veneer_adapters.catalog.catalog import Arrival, Catalog
from veneer_adapters.catalog.database import Database
from veneer_adapters.catalog.revision import Revision
from veneer_adapters.lifecycle import State
from veneer_adapters.residency.residency import Residency
from veneer_server.engine.supervision import Loss
from veneer_server.serving.recovery import EngineRecovery
from veneer_server.telemetry.metrics import Metrics


class Rig:
    """A catalog, residency over a fake engine, and their recovery."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.engine = FakeEngine(device_slots=3, host_slots=4)
        self.now_s = 0.0
        self.residency = Residency(
            self.engine,
            device_slots=3,
            host_slots=4,
            load_timeout_s=5,
            clock=lambda: self.now_s,
        )
        self.metrics = Metrics(CollectorRegistry())
        self.recovery = EngineRecovery(self.residency, catalog, self.metrics)

    async def published(self, name: str, digit: str) -> Revision:
        source, manifest = builders.FOLDER, builders.MANIFEST
        arrival = Arrival(name, digit * 64, Path("/nowhere"), manifest, source, "live")
        added = await self.catalog.add(arrival)
        await self.catalog.prove(added, SOME_EFFECT)
        return self.catalog.current(added)

    def lose(self, reason: Loss = Loss.DIED) -> None:
        """Lose the engine with all that it holds."""
        self.recovery.lost(reason)
        self.engine.device.clear()
        self.engine.host.clear()

    def resident(self) -> set[str]:
        return {r.adapter for r in self.residency.snapshot() if r.level == "device"}


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    database = await Database.open(tmp_path / "catalog.db")
    try:
        yield Rig(await Catalog.open(database, lambda digest: tmp_path / digest))
    finally:
        await database.close()


async def test_what_was_in_device_slots_comes_back_and_the_restart_is_counted(rig: Rig) -> None:
    a, b = await rig.published("a", "1"), await rig.published("b", "2")
    await rig.residency.warm(a)
    await rig.residency.pin(b)
    rig.lose(Loss.HUNG)
    assert rig.resident() == set()
    await rig.recovery.restore()
    assert rig.resident() == {"a", "b"}
    labels = {"reason": "hung"}
    assert rig.metrics.registry.get_sample_value("veneer_engine_restarts_total", labels) == 1


async def test_one_that_cannot_be_loaded_keeps_nobody_else_away(rig: Rig) -> None:
    a, b = await rig.published("a", "1"), await rig.published("b", "2")
    await rig.residency.warm(a)
    await rig.residency.warm(b)
    rig.engine.broken.add("load b")
    rig.lose()
    await rig.recovery.restore()
    assert rig.resident() == {"a"}


async def test_a_suspect_of_one_death_comes_back_and_of_two_is_refused(rig: Rig) -> None:
    a, b = await rig.published("a", "1"), await rig.published("b", "2")
    await rig.residency.warm(a)
    async with rig.residency.lease(b):
        rig.lose()
    await rig.recovery.restore()
    assert rig.resident() == {"a", "b"}
    async with rig.residency.lease(b):
        rig.lose()
    await rig.recovery.restore()
    assert rig.resident() == {"a"}
    refused = rig.catalog.current(b)
    assert (refused.state, refused.reason) == (State.FAILED, "crashes_engine")
    assert rig.catalog.current(a).state is State.READY


@pytest.mark.slow
async def test_one_that_has_served_well_since_is_blamed_for_no_earlier_death(rig: Rig) -> None:
    a = await rig.published("a", "1")
    for _ in range(3):
        async with rig.residency.lease(a):
            rig.lose()
        await rig.recovery.restore()
        assert rig.resident() == {"a"}
        rig.now_s += 1
        async with rig.residency.lease(a):
            rig.now_s += 9
        rig.lose()
        await rig.recovery.restore()
    assert rig.catalog.current(a).state is State.READY


async def test_an_engine_lost_while_it_restores_leaves_the_rest_wanted(rig: Rig) -> None:
    a, b = await rig.published("a", "1"), await rig.published("b", "2")
    await rig.residency.warm(a)
    await rig.residency.warm(b)
    rig.lose()
    rig.lose()
    await rig.recovery.restore()
    assert rig.resident() == {"a", "b"}
