"""What survives a restart, what is never handed out twice, and what a bad file or write does."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from unit.adapters.catalog.shelves import FOLDER, LIVE_A, PATH, arrival, open_catalog, publish
from veneer_adapters import errors
from veneer_adapters.catalog.alias import Target
from veneer_adapters.catalog.catalog import Catalog
from veneer_adapters.catalog.database import Database
from veneer_adapters.names import Selector


async def test_a_removed_adapter_is_not_found(catalog: Catalog) -> None:
    await publish(catalog, "a", "1")
    await catalog.remove("a")
    assert catalog.adapters() == []
    for selector in (LIVE_A, Selector("a", number=1)):
        with pytest.raises(errors.AdapterNotFound):
            catalog.resolve(selector)
    with pytest.raises(errors.AdapterNotFound):
        await catalog.remove("a")


async def test_an_adapter_that_was_only_ever_refused_can_be_removed(catalog: Catalog) -> None:
    catalog.fail("a", errors.Truncated("Cut."), FOLDER)
    await catalog.remove("a")
    assert catalog.adapters() == []


async def test_numbers_are_never_reused_after_removal_and_restart(database: Database) -> None:
    catalog = await open_catalog(database)
    await publish(catalog, "a", "1")
    await publish(catalog, "a", "2")
    await catalog.remove("a")
    again = await open_catalog(database)
    assert again.adapters() == []
    assert (await publish(again, "a", "3")).number == 3
    assert (await publish(again, "a", "1")).number == 1


async def test_a_restart_finds_everything_as_it_was(database: Database) -> None:
    catalog = await open_catalog(database)
    await publish(catalog, "team/b", "5", replace(FOLDER, read_only=True))
    await publish(catalog, "a", "1")
    second = await publish(catalog, "a", "2")
    await catalog.refuse(second, errors.ContentLost("Gone."))
    await catalog.move("a", "canary", (Target(1),), sticky="user")
    await catalog.pin("a", pinned=True)
    again = await open_catalog(database)
    assert again.adapters() == catalog.adapters()
    assert again.revisions("a") == catalog.revisions("a")
    assert again.get("team/b").read_only


async def test_what_another_process_changed_shows_after_a_refresh(database: Database) -> None:
    ours, theirs = await open_catalog(database), await open_catalog(database)
    await publish(theirs, "a", "1")
    with pytest.raises(errors.AdapterNotFound):
        ours.resolve(LIVE_A)
    await ours.refresh()
    assert ours.adapters() == theirs.adapters()
    await publish(ours, "a", "2")
    await publish(theirs, "b", "1")
    await theirs.refresh()
    await ours.refresh()
    assert ours.adapters() == theirs.adapters()


async def test_two_processes_never_give_one_number_twice(database: Database) -> None:
    ours, theirs = await open_catalog(database), await open_catalog(database)
    assert (await publish(ours, "a", "1")).number == 1
    assert (await publish(theirs, "a", "2")).number == 2
    assert (await publish(ours, "a", "3")).number == 3


async def test_what_is_given_up_waits_no_more_and_a_new_name_vanishes(catalog: Catalog) -> None:
    new = await catalog.add(arrival("new", "1", PATH), is_new=True)
    await publish(catalog, "a", "1")
    second = await catalog.add(arrival("a", "2", PATH))
    await catalog.give_up(new, is_new=True)
    await catalog.give_up(second)
    assert [a.name for a in catalog.adapters()] == ["a"]
    assert catalog.waiting() == []


async def test_giving_up_keeps_a_name_that_has_no_alias_left_but_can_serve(
    catalog: Catalog,
) -> None:
    await publish(catalog, "a", "1")
    await catalog.remove_alias("a", "live")
    await catalog.give_up(await catalog.add(arrival("a", "2", PATH)))
    assert catalog.resolve(Selector("a", number=1)).number == 1


async def test_a_batch_may_hold_one_name_twice(catalog: Catalog) -> None:
    batch = [arrival("a", "1"), arrival("a", "2"), arrival("b", "1")]
    assert [r.number for r in await catalog.add_all(batch)] == [1, 2, 1]


async def test_a_folder_that_holds_what_it_held_writes_nothing(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(catalog, "a", "1")
    monkeypatch.setattr(Catalog, "_commit", None)
    assert (await catalog.add(arrival("a", "1"))).number == 1


async def test_a_write_that_fails_changes_nothing(
    catalog: Catalog, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(catalog, "a", "1")

    async def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("veneer_adapters.catalog.repository._write", full)
    with pytest.raises(errors.StorageFailed):
        await publish(catalog, "a", "2")
    monkeypatch.undo()
    assert catalog.resolve(LIVE_A).number == 1
    assert (await open_catalog(database)).resolve(LIVE_A).number == 1
    assert (await publish(catalog, "a", "2")).number == 2


DAMAGED: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("cut", lambda raw: raw[: len(raw) // 2]),
    ("overwritten in the middle", lambda raw: raw[:4096] + b"\xff" * 8192 + raw[12288:]),
    ("not a database", lambda raw: b"hello " * 1000),
]


@pytest.mark.parametrize("damage", [d[1] for d in DAMAGED], ids=[d[0] for d in DAMAGED])
async def test_a_file_that_cannot_be_trusted_stops_the_start_and_stays(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    file = tmp_path / "veneer.db"
    database = await Database.open(file)
    await publish(await open_catalog(database), "a", "1")
    await database.close()
    damaged = damage(file.read_bytes())
    file.write_bytes(damaged)
    with pytest.raises(errors.CatalogUnreadable, match=r"veneer\.db"):
        await Database.open(file)
    assert file.read_bytes() == damaged


@pytest_asyncio.fixture
async def newer(tmp_path: Path) -> AsyncIterator[Path]:
    file = tmp_path / "veneer.db"
    database = await Database.open(file)
    async with database.noting() as connection:
        await connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    await database.close()
    yield file


async def test_a_catalog_of_a_newer_veneer_stops_the_start(newer: Path) -> None:
    with pytest.raises(errors.CatalogUnreadable, match="newer"):
        await Database.open(newer)
