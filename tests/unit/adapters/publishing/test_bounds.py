"""What stagings leave behind: nothing, and never more of them at a time than may be."""

import asyncio
import threading
from pathlib import Path

import pytest
import pytest_asyncio

from support import builders
from veneer_adapters.artifact.checks import verify
from veneer_adapters.catalog.catalog import Catalog
from veneer_adapters.catalog.database import Database
from veneer_adapters.catalog.proof import Effect
from veneer_adapters.catalog.revision import Revision, Source
from veneer_adapters.errors import AdapterRejected, StagingFull
from veneer_adapters.publishing.following import Following
from veneer_adapters.publishing.intake import Intake
from veneer_adapters.publishing.publishing import Publishing
from veneer_adapters.publishing.staging import MOST_STARTED, Offer, Staging
from veneer_adapters.sources.base import Root
from veneer_adapters.store.store import Store


class Rig:
    def __init__(self, tmp_path: Path, catalog: Catalog) -> None:
        self.root = Root(tmp_path / "adapters")
        self.root.path.mkdir()
        self.catalog = catalog
        store = self.store = Store(tmp_path / "store", needed=catalog.digests)
        intake = Intake(store, lambda folder: verify(folder, builders.FACTS), roots=[self.root])
        self.publishing = Publishing(catalog, self.prove)
        self.staging = Staging(intake, catalog, self.publishing)
        self.following = Following(self.staging, catalog)

    async def prove(self, revision: Revision) -> None:
        await self.catalog.prove(revision, Effect(2, 0.5, finite=True, repeats=False))

    def offer(self, name: str, kind: str = "path") -> Offer:
        return Offer(name, Source(kind, str(self.root.path / name)))  # type: ignore[arg-type]


@pytest_asyncio.fixture
async def rig(tmp_path: Path, database: Database) -> Rig:
    return Rig(tmp_path, await Catalog.open(database, Store(tmp_path / "store").path))


async def test_a_name_whose_turn_is_over_leaves_no_lock(rig: Rig) -> None:
    for name in "abc":
        builders.write(rig.root.path / name)
        await rig.staging.stage(rig.offer(name))
    assert dict(rig.publishing._turns) == {}


async def test_a_folder_that_is_gone_leaves_nothing_of_what_was_logged(rig: Rig) -> None:
    (rig.root.path / "a").mkdir()
    (rig.root.path / "a" / "adapter_config.json").write_text("{}")
    with pytest.raises(AdapterRejected):
        await rig.staging.stage_folder(rig.offer("a", "folder"), rig.root)
    assert [*rig.staging._logged] == ["a"]
    await rig.following._remove("a")
    assert rig.staging._logged == {}
    assert not rig.catalog.knows("a")


async def test_only_so_many_stagings_begin_without_anybody_waiting(rig: Rig) -> None:
    for number in range(MOST_STARTED):
        rig.staging.start(rig.offer(f"ghost{number}"))
    with pytest.raises(StagingFull):
        rig.staging.start(rig.offer("one-more"))
    async with asyncio.timeout(30):
        while rig.staging._running:
            await asyncio.sleep(0.005)
    assert len(rig.catalog.adapters()) == MOST_STARTED
    rig.staging.start(rig.offer("one-more"))
    await rig.staging.close()


async def test_an_upload_that_is_cancelled_as_it_begins_leaves_nothing(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, gate, make = threading.Event(), threading.Event(), rig.store.make_folder

    def slowly(path: Path) -> None:
        began.set()
        gate.wait(5)
        make(path)

    async def upload() -> None:
        async with rig.staging.receiving():
            pytest.fail("it was cancelled before")

    monkeypatch.setattr(rig.store, "make_folder", slowly)
    uploading = asyncio.create_task(upload())
    async with asyncio.timeout(30):
        await asyncio.to_thread(began.wait, 5)
        uploading.cancel()
        await asyncio.wait((uploading,), timeout=0.2)
        assert not uploading.done(), "it waits for the thread, which nobody can stop"
        gate.set()
        await asyncio.wait((uploading,))
    assert uploading.cancelled()
    assert list((tmp_path / "store" / "tmp").iterdir()) == []
