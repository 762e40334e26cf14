"""A guard over a real catalog: what it counts, when it acts, and who wins."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from support import builders
from veneer_adapters.canaries.guarding import Guarding
from veneer_adapters.canaries.tally import Ending, Tally
from veneer_adapters.catalog.alias import Alias, Guard, Target
from veneer_adapters.catalog.catalog import Arrival, Catalog
from veneer_adapters.catalog.database import Database
from veneer_adapters.catalog.proof import Effect
from veneer_adapters.events import AdapterEvent, CanaryTakenBack, CanaryWatched

PROVED = Effect(modules=2, largest_change=1.0, finite=True, repeats=False)
GUARD = Guard(min_requests=5, margin=0.1)
SPLIT = (Target(1, 90), Target(2, 10))


class Told:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.events: list[AdapterEvent] = []

    def on_event(self, event: AdapterEvent) -> None:
        self.events.append(event)


@pytest_asyncio.fixture
async def catalog(database: Database) -> Catalog:
    """Three proved revisions of ``mine``; no alias ``next`` yet."""
    catalog = await Catalog.open(database, Path, now=lambda: 1000.0)
    for digit in "123":
        arrival = Arrival(
            "mine", digit * 64, Path(digit), builders.MANIFEST, builders.FOLDER, becomes=None
        )
        await catalog.prove(await catalog.add(arrival), PROVED)
    return catalog


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def guarding(catalog: Catalog, told: Told) -> Guarding:
    return Guarding(catalog, told, retry_s=0)


async def split(catalog: Catalog, targets: tuple[Target, ...] = SPLIT, first: int = 1) -> Alias:
    """Point ``next`` to ``first`` and then split it."""
    await catalog.move("mine", "next", (Target(first),))
    return await catalog.move("mine", "next", targets, guard=GUARD)


def end(guarding: Guarding, alias: Alias, revision: int, ending: Ending, times: int = 5) -> None:
    for _ in range(times):
        guarding.count("mine", alias, revision, ending)


async def test_a_canary_that_fails_is_taken_back_and_reported(
    catalog: Catalog, guarding: Guarding, told: Told
) -> None:
    alias = await split(catalog)
    with capture_logs() as logs:
        end(guarding, alias, 1, Ending.ANSWERED)
        end(guarding, alias, 2, Ending.FAILED)
        await guarding.settled()
    now = catalog.alias("mine", "next")
    assert (now.targets, now.by, now.version, now.guard) == ((Target(1),), "guard", 3, None)
    assert [move.by for move in await catalog.moves("mine", "next")][:1] == ["guard"]
    assert told.events == [CanaryWatched("mine"), CanaryTakenBack("mine", "errors")]
    [line] = [line for line in logs if line["event"] == "canary taken back"]
    assert (line["canary"], line["back_to"], line["counts"][2]["failed"]) == (2, 1, 5)


async def test_a_canary_that_breaks_structures_is_taken_back(
    catalog: Catalog, guarding: Guarding, told: Told
) -> None:
    alias = await split(catalog)
    end(guarding, alias, 1, Ending.KEPT)
    end(guarding, alias, 2, Ending.BROKEN)
    await guarding.settled()
    assert catalog.alias("mine", "next").targets == (Target(1),)
    assert told.events[-1] == CanaryTakenBack("mine", "schema")


async def test_a_canary_as_good_as_the_baseline_stays(catalog: Catalog, guarding: Guarding) -> None:
    alias = await split(catalog)
    for _ in range(20):
        for revision in (1, 2):
            end(guarding, alias, revision, Ending.FAILED, 1)
            end(guarding, alias, revision, Ending.KEPT, 2)
    await guarding.settled()
    assert catalog.alias("mine", "next") == alias
    assert guarding.tallies("mine", "next")[2] == Tally(60, 20, 40, 0)


async def test_it_goes_back_to_what_was_before_the_canary_not_to_more_of_it(
    catalog: Catalog, guarding: Guarding
) -> None:
    await catalog.move("mine", "next", (Target(1),))
    await catalog.move("mine", "next", (Target(2),))
    await catalog.move("mine", "next", SPLIT, guard=GUARD)
    wider = (Target(1, 50), Target(2, 50))
    alias = await catalog.move("mine", "next", wider, guard=GUARD)
    end(guarding, alias, 1, Ending.ANSWERED)
    end(guarding, alias, 2, Ending.FAILED)
    await guarding.settled()
    assert catalog.alias("mine", "next").targets == (Target(1),)


@pytest.mark.parametrize("first", [2, None])
async def test_an_alias_that_was_never_without_the_canary_goes_to_its_baseline(
    catalog: Catalog, guarding: Guarding, first: int | None
) -> None:
    if first is not None:
        await catalog.move("mine", "next", (Target(first),))
    alias = await catalog.move("mine", "next", SPLIT, guard=GUARD)
    end(guarding, alias, 1, Ending.ANSWERED)
    end(guarding, alias, 2, Ending.FAILED)
    await guarding.settled()
    now = catalog.alias("mine", "next")
    assert (now.targets, now.by) == ((Target(1),), "guard")


async def test_one_bad_canary_of_two_takes_the_whole_alias_back(
    catalog: Catalog, guarding: Guarding
) -> None:
    alias = await split(catalog, (*SPLIT, Target(3, 10)))
    end(guarding, alias, 1, Ending.ANSWERED)
    end(guarding, alias, 2, Ending.ANSWERED)
    end(guarding, alias, 3, Ending.FAILED)
    await guarding.settled()
    assert catalog.alias("mine", "next").targets == (Target(1),)


async def test_whoever_moves_the_alias_meanwhile_wins(catalog: Catalog, guarding: Guarding) -> None:
    alias = await split(catalog)
    end(guarding, alias, 1, Ending.ANSWERED)
    end(guarding, alias, 2, Ending.FAILED)
    # Begun before the guard's task has run at all.
    moved = await catalog.move("mine", "next", (Target(2),))
    await guarding.settled()
    assert catalog.alias("mine", "next") == moved
    assert guarding.tallies("mine", "next") == {}


async def test_requests_from_before_a_move_count_for_nothing(
    catalog: Catalog, guarding: Guarding, told: Told
) -> None:
    old = await split(catalog)
    end(guarding, old, 1, Ending.ANSWERED)
    new = await catalog.move("mine", "next", (Target(1, 50), Target(2, 50)), guard=GUARD)
    end(guarding, new, 1, Ending.ANSWERED)
    end(guarding, old, 2, Ending.FAILED)
    await guarding.settled()
    assert guarding.tallies("mine", "next") == {1: Tally(5), 2: Tally()}
    assert catalog.alias("mine", "next") == new


async def test_an_alias_that_is_gone_counts_for_nothing(
    catalog: Catalog, guarding: Guarding, told: Told
) -> None:
    alias = await split(catalog)
    await catalog.remove_alias("mine", "next")
    end(guarding, alias, 1, Ending.ANSWERED)
    await catalog.remove("mine")
    end(guarding, alias, 2, Ending.FAILED)
    await guarding.settled()
    assert told.events == []


async def test_an_alias_without_a_guard_is_not_counted(
    catalog: Catalog, guarding: Guarding, told: Told
) -> None:
    alias = await catalog.move("mine", "next", SPLIT)
    end(guarding, alias, 2, Ending.FAILED)
    assert (told.events, guarding.tallies("mine", "next")) == ([], {})


async def test_memory_is_bounded_by_the_aliases_counted_at_a_time(
    catalog: Catalog, told: Told
) -> None:
    guarding = Guarding(catalog, told, most=2)
    for name in ("a", "b", "c"):
        alias = await catalog.move("mine", name, SPLIT, guard=GUARD)
        end(guarding, alias, 1, Ending.ANSWERED)
    assert [bool(guarding.tallies("mine", name)) for name in "abc"] == [False, True, True]


async def test_a_catalog_that_cannot_be_written_is_asked_again(
    catalog: Catalog, guarding: Guarding, armed: Callable[[str], None]
) -> None:
    alias = await split(catalog)
    armed("catalog.write:1:error")
    with capture_logs() as logs:
        end(guarding, alias, 1, Ending.ANSWERED)
        end(guarding, alias, 2, Ending.FAILED)
        await guarding.settled()
    events = [line["event"] for line in logs if line["event"].startswith("canary")]
    assert events == ["canary not taken back yet", "canary taken back"]
    assert catalog.alias("mine", "next").by == "guard"


async def test_of_two_servers_one_takes_the_canary_back(
    catalog: Catalog, database: Database, guarding: Guarding
) -> None:
    other = await Catalog.open(database, Path, now=lambda: 1000.0)
    told = Told()
    theirs = Guarding(other, told, retry_s=0)
    alias = await split(catalog)
    await other.refresh()
    for each in (guarding, theirs):
        end(each, replace(alias), 1, Ending.ANSWERED)
        end(each, replace(alias), 2, Ending.FAILED)
    await guarding.settled()
    await theirs.settled()
    assert told.events == [CanaryWatched("mine")]
    assert catalog.alias("mine", "next").version == alias.version + 1
