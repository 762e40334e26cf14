"""What is asked of a revision around its load, and what becomes of the answers."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from support import builders, storing
from support.fake_engine import FakeEngine
from veneer_adapters import errors
from veneer_adapters.catalog.catalog import Arrival, Catalog
from veneer_adapters.catalog.database import Database
from veneer_adapters.catalog.proof import Effect
from veneer_adapters.catalog.revision import Revision, Source
from veneer_adapters.lifecycle import State
from veneer_adapters.residency.vouching import Vouching
from veneer_adapters.store.store import Store

NOTHING = Effect(modules=2, largest_change=0.0, finite=True, repeats=False)


class Rig:
    """A catalog, a store and an engine that measures what the test says."""

    def __init__(self, catalog: Catalog, store: Store, tmp_path: Path) -> None:
        self.catalog = catalog
        self.store = store
        self.source = builders.write(tmp_path / "source")
        self.host = FakeEngine(device_slots=4, host_slots=8)
        self.restored: list[str] = []
        self.restoring: Callable[[Revision], Awaitable[None]] = self._restore
        self.vouching = Vouching(catalog, store, self.host, self._ask)

    async def _ask(self, revision: Revision) -> None:
        self.restored.append(revision.label)
        await self.restoring(revision)

    async def _restore(self, revision: Revision) -> None:
        storing.put(self.store, self.source)

    async def add(self, kind: str = "folder") -> Revision:
        digest, path = storing.put(self.store, self.source)
        source = Source("folder" if kind == "folder" else "path", str(self.source))
        return await self.catalog.add(Arrival("a", digest, path, builders.MANIFEST, source))

    async def load(self, revision: Revision) -> None:
        """Do what residency does."""
        await self.vouching.before_load(revision)
        await self.host.load_adapter(len(self.host.seen) + 1, revision.engine_name, revision.path)
        await self.vouching.after_load(revision, len(self.host.seen))

    def measured(self) -> int:
        return sum(call.startswith("measure") for call in self.host.calls)


@pytest_asyncio.fixture
async def rig(database: Database, tmp_path: Path) -> Rig:
    store = Store(tmp_path / "store")
    return Rig(await Catalog.open(database, store.path), store, tmp_path)


def state(rig: Rig, revision: Revision) -> tuple[State, str | None]:
    found = rig.catalog.current(revision)
    return found.state, found.reason


async def test_a_revision_is_measured_by_its_first_load_and_by_no_other(rig: Rig) -> None:
    revision = await rig.add()
    await rig.load(revision)
    await rig.load(revision)
    assert rig.measured() == 1
    assert state(rig, revision) == (State.READY, None)


async def test_what_changes_nothing_fails_for_good(rig: Rig) -> None:
    revision = await rig.add()
    rig.host.effects["a"] = NOTHING
    with pytest.raises(errors.NoEffect):
        await rig.load(revision)
    assert state(rig, revision) == (State.FAILED, "no_effect")


async def test_damaged_files_are_brought_back_before_they_are_loaded(rig: Rig) -> None:
    revision = await rig.add()
    fresh = Store(rig.store.path(revision.digest).parents[2])
    rig.store = fresh
    rig.vouching = Vouching(rig.catalog, fresh, rig.host, rig._ask)
    weights = revision.path / "adapter_model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(b"x" + weights.read_bytes()[1:])
    await rig.load(revision)
    assert rig.restored == [revision.label]
    assert fresh.check(revision.digest)
    assert state(rig, revision) == (State.READY, None)


@pytest.mark.parametrize(
    ("error", "left"),
    [
        (errors.MissingFile("Gone."), (State.FAILED, "content_lost")),
        (errors.SourceUnavailable("Later."), (State.STAGED, None)),
    ],
    ids=["the source has it no more", "the source cannot be asked now"],
)
async def test_what_cannot_be_brought_back_never_reaches_the_engine(
    rig: Rig, error: errors.AdapterError, left: tuple[State, str | None]
) -> None:
    async def fail(revision: Revision) -> None:
        raise error

    revision = await rig.add()
    rig.restoring = fail
    empty = Store(rig.source.parent / "empty")
    rig.vouching = Vouching(rig.catalog, empty, rig.host, rig._ask)
    with pytest.raises((errors.ContentLost, errors.SourceUnavailable)):
        await rig.load(revision)
    assert rig.host.calls == []
    assert state(rig, revision) == left


async def test_a_proof_that_cannot_be_written_down_stops_no_request(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def busy(*_: object) -> None:
        raise errors.StateBusy("Busy.")

    live, waiting = await rig.add(), None
    monkeypatch.setattr(rig.catalog, "prove", busy)
    await rig.load(live)
    assert state(rig, live) == (State.STAGED, None)
    monkeypatch.undo()
    await rig.load(live)
    assert state(rig, live) == (State.READY, None)

    builders.write(rig.source, seed=1)
    waiting = await rig.add("path")
    monkeypatch.setattr(rig.catalog, "prove", busy)
    with pytest.raises(errors.StateBusy):
        await rig.load(waiting)
