"""What the server keeps of names that failed or were removed is bounded, and ends."""

from dataclasses import replace
from pathlib import Path

import pytest_asyncio

from support import builders
from veneer_adapters.catalog.catalog import Arrival, Catalog
from veneer_adapters.catalog.database import Database
from veneer_adapters.catalog.proof import Effect
from veneer_adapters.catalog.revision import Revision, Source
from veneer_adapters.catalog.snapshot import Refusals
from veneer_adapters.catalog.usage import Usage
from veneer_adapters.errors import MissingFile

MISSING = MissingFile("There is no such folder.")
FOLDER, ASKED = Source("folder", "/folders/x"), Source("path", "/somewhere/x")
EFFECT = Effect(2, 0.5, finite=True, repeats=False)


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest_asyncio.fixture
async def catalog(database: Database) -> Catalog:
    return await open_catalog(database)


async def open_catalog(database: Database, clock: Clock | None = None) -> Catalog:
    return await Catalog.open(database, Path, clock=clock or Clock())


async def publish(catalog: Catalog, name: str, of: str, source: Source) -> Revision:
    made = builders.revision(name, of)
    added = await catalog.add(Arrival(name, made.digest, made.path, made.manifest, source))
    await catalog.prove(added, EFFECT)
    return catalog.current(added)


def names(catalog: Catalog) -> list[str]:
    return [adapter.name for adapter in catalog.adapters()]


async def test_names_that_failed_by_request_are_bounded_and_the_oldest_go_first(
    catalog: Catalog,
) -> None:
    for number in range(Refusals.MOST_ASKED + 5):
        catalog.fail(f"ghost{number}", MISSING, ASKED)
    assert len(names(catalog)) == Refusals.MOST_ASKED
    assert not catalog.knows("ghost4")
    assert catalog.knows("ghost5")


async def test_a_name_that_failed_by_request_is_forgotten_after_an_hour(database: Database) -> None:
    clock = Clock()
    catalog = await open_catalog(database, clock)
    catalog.fail("asked", MISSING, ASKED)
    catalog.fail("dropped", MISSING, FOLDER)
    clock.now_s += Refusals.KEPT_S - 1
    assert names(catalog) == ["asked", "dropped"]
    clock.now_s += 2
    assert names(catalog) == ["dropped"]
    assert not catalog.knows("asked")


async def test_a_folder_that_failed_is_shown_however_many_names_requests_make_up(
    catalog: Catalog,
) -> None:
    catalog.fail("dropped", MISSING, FOLDER)
    for number in range(Refusals.MOST_ASKED):
        catalog.fail(f"ghost{number}", MISSING, ASKED)
    assert catalog.get("dropped").reason == "missing_file"
    assert "dropped" in catalog.in_folders()


async def test_a_name_has_one_refusal_the_newest(catalog: Catalog) -> None:
    catalog.fail("a", MISSING, FOLDER)
    catalog.fail("a", MISSING, replace(ASKED, location="/later"))
    assert catalog.get("a").source.location == "/later"
    assert catalog.in_folders() == {}
    await catalog.remove("a")
    assert not catalog.knows("a")


async def test_nothing_of_a_removed_adapter_stays_in_memory_and_its_numbers_go_on(
    catalog: Catalog, database: Database
) -> None:
    for number in range(20):
        await publish(catalog, f"a{number}", "1", ASKED)
        await catalog.remove(f"a{number}")
    assert catalog._entries == {}
    assert (await publish(catalog, "a7", "2", ASKED)).number == 2
    other = await open_catalog(database)
    assert [*other._entries] == ["a7"]


async def test_a_folder_that_was_removed_by_request_is_still_compared(catalog: Catalog) -> None:
    await publish(catalog, "a", "1", FOLDER)
    await catalog.remove("a")
    made = builders.revision("a", "1")
    await catalog.add(Arrival("a", made.digest, made.path, made.manifest, FOLDER))
    assert names(catalog) == []
    await catalog.remove_folder("a")
    assert catalog._entries == {}


async def test_removed_adapters_take_no_place_among_the_most_used(
    catalog: Catalog, database: Database
) -> None:
    usage = Usage(database)
    for name, requests in (("old", 9), ("new", 1)):
        await publish(catalog, name, "1", ASKED)
        for _ in range(requests):
            usage.count(name)
    await usage.flush()
    assert await usage.most_used(1) == ["old"]
    await catalog.remove("old")
    usage.count("old")
    await usage.flush()
    assert await usage.most_used(2) == ["new"]


async def test_giving_up_what_was_removed_leaves_alone_what_was_added_since(
    catalog: Catalog,
) -> None:
    first = await add_new(catalog, "a", "1")
    await catalog.remove("a")
    await catalog.give_up(first, is_new=True)
    second = await add_new(catalog, "a", "2")
    await catalog.give_up(first, is_new=True)
    assert catalog.waiting() == [second]
    await catalog.prove(second, EFFECT)
    await catalog.give_up(first, is_new=True)
    assert catalog.get("a").live == catalog.current(second)


async def add_new(catalog: Catalog, name: str, of: str) -> Revision:
    made = builders.revision(name, of)
    arrival = Arrival(name, made.digest, made.path, made.manifest, ASKED)
    return await catalog.add(arrival, is_new=True)
