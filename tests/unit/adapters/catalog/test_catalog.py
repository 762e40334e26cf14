"""What names mean, what survives a restart, and what is never handed out twice."""

import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from support import builders
from veneer_adapters import errors
from veneer_adapters.catalog.alias import Guard, Target
from veneer_adapters.catalog.catalog import Arrival, Catalog, Entry
from veneer_adapters.catalog.database import Database
from veneer_adapters.catalog.proof import Effect
from veneer_adapters.catalog.revision import Revision, Source
from veneer_adapters.lifecycle import State
from veneer_adapters.names import Selector

NOW = 1_700_000_000
LIVE_A = Selector("a", alias="live")
FOLDER, PATH = builders.FOLDER, Source("path", "elsewhere")
EFFECT = Effect(modules=2, largest_change=0.5, finite=True, repeats=False)


def digest(of: str) -> str:
    return of * (64 // len(of))


def stored(of: str) -> Path:
    return Path("/store") / of[:4]


def arrival(name: str, of: str, source: Source = FOLDER, **more: object) -> Arrival:
    made = Arrival(name, digest(of), stored(digest(of)), builders.MANIFEST, source)
    return replace(made, **more)  # type: ignore[arg-type]


async def open_catalog(database: Database) -> Catalog:
    return await Catalog.open(database, stored, now=lambda: NOW)


@pytest_asyncio.fixture
async def catalog(database: Database) -> Catalog:
    return await open_catalog(database)


async def publish(catalog: Catalog, name: str, of: str, source: Source = FOLDER) -> Revision:
    """Add and prove, as publishing does; return the revision as it is then."""
    added = await catalog.add(arrival(name, of, source))
    if added.state is State.STAGED:
        await catalog.prove(added, EFFECT)
    return catalog.current(added)


async def test_the_first_content_of_a_folder_is_live_before_it_is_proved(catalog: Catalog) -> None:
    revision = await catalog.add(arrival("a", "1"))
    assert catalog.resolve(LIVE_A) == revision
    assert (revision.number, revision.state) == (1, State.STAGED)
    assert revision.engine_name == f"a@sha256:{'1' * 24}"
    assert revision.label == f"a@1#sha256:{'1' * 12}"
    assert catalog.get("a").state is State.STAGED


async def test_what_is_added_by_request_is_not_live_before_it_is_proved(catalog: Catalog) -> None:
    revision = await catalog.add(arrival("a", "1", PATH))
    with pytest.raises(errors.AdapterFailed):
        catalog.resolve(LIVE_A)
    await catalog.prove(revision, EFFECT)
    assert catalog.resolve(LIVE_A).effect == EFFECT
    assert catalog.get("a").state is State.READY


async def test_live_moves_to_other_content_only_when_that_is_proved(catalog: Catalog) -> None:
    first = await publish(catalog, "a", "1")
    second = await catalog.add(arrival("a", "2"))
    assert second.number == 2
    assert catalog.resolve(LIVE_A) == first
    assert catalog.waiting() == [second]
    await catalog.prove(second, EFFECT)
    assert catalog.resolve(LIVE_A).number == 2
    assert catalog.waiting() == []
    assert catalog.resolve(Selector("a", number=1)) == first
    assert catalog.resolve(Selector("a", digest="1" * 12)) == first


async def test_content_that_fails_its_proof_moves_nothing(catalog: Catalog) -> None:
    first = await publish(catalog, "a", "1")
    second = await catalog.add(arrival("a", "2"))
    await catalog.refuse(second, errors.NoEffect("Nothing changes."))
    assert catalog.resolve(LIVE_A) == first
    with pytest.raises(errors.AdapterFailed, match=r"Nothing changes\."):
        catalog.resolve(Selector("a", number=2))
    adapter = catalog.get("a")
    assert (adapter.state, adapter.reason) == (State.READY, "no_effect")


async def test_of_two_that_wait_for_an_alias_the_later_gets_it(catalog: Catalog) -> None:
    await publish(catalog, "a", "1")
    second = await catalog.add(arrival("a", "2"))
    third = await catalog.add(arrival("a", "3"))
    await catalog.prove(third, EFFECT)
    await catalog.prove(second, EFFECT)
    assert catalog.resolve(LIVE_A).number == 3


async def test_content_seen_before_keeps_its_number_and_is_live_again_at_once(
    catalog: Catalog,
) -> None:
    first = await publish(catalog, "a", "1")
    await publish(catalog, "a", "2")
    again = await catalog.add(arrival("a", "1"))
    assert again.number == first.number
    assert catalog.resolve(LIVE_A).number == 1


async def test_a_folder_seen_again_does_not_undo_a_rollback(database: Database) -> None:
    catalog = await open_catalog(database)
    await publish(catalog, "a", "1")
    await publish(catalog, "a", "2")
    await catalog.roll_back("a", "live")
    again = await open_catalog(database)
    await again.add(arrival("a", "2"))
    assert again.resolve(LIVE_A).number == 1


async def test_rolling_back_goes_one_step_at_a_time_and_then_says_so(catalog: Catalog) -> None:
    for of in "123":
        await publish(catalog, "a", of)
    versions = [(await catalog.roll_back("a", "live")).version for _ in range(2)]
    assert catalog.resolve(LIVE_A).number == 1
    assert versions == [4, 5]
    with pytest.raises(errors.NothingToRollBack):
        await catalog.roll_back("a", "live")
    with pytest.raises(errors.NothingToRollBack):
        await catalog.roll_back("a", "canary")


async def test_rolling_back_passes_over_what_failed_meanwhile(catalog: Catalog) -> None:
    revisions = [await publish(catalog, "a", of) for of in "123"]
    await catalog.refuse(revisions[1], errors.ContentLost("Gone."))
    alias = await catalog.roll_back("a", "live")
    assert (alias.main, alias.version) == (1, 4)


async def test_a_move_that_expects_another_version_changes_nothing(catalog: Catalog) -> None:
    await publish(catalog, "a", "1")
    await publish(catalog, "a", "2")
    with pytest.raises(errors.AliasMoved):
        await catalog.move("a", "live", (Target(1),), expected=1)
    assert catalog.resolve(LIVE_A).number == 2
    alias = await catalog.move("a", "live", (Target(1),), expected=2)
    assert (alias.version, catalog.resolve(LIVE_A).number) == (3, 1)
    fresh = await catalog.move("a", "canary", (Target(2),), expected=0)
    assert fresh.version == 1


IMPOSSIBLE = [
    (),
    (Target(9),),
    (Target(1), Target(1)),
    (Target(1, 0),),
    (Target(1, 10**9),),
    (Target(2),),
]


@pytest.mark.parametrize("targets", IMPOSSIBLE, ids=str)
async def test_an_alias_points_only_to_what_can_serve(
    catalog: Catalog, targets: tuple[Target, ...]
) -> None:
    await publish(catalog, "a", "1")
    await catalog.add(arrival("a", "2"))
    with pytest.raises(errors.TargetsImpossible):
        await catalog.move("a", "live", targets)
    assert catalog.alias("a", "live").version == 1


async def test_a_guard_needs_a_baseline_and_a_canary(catalog: Catalog) -> None:
    await publish(catalog, "a", "1")
    await publish(catalog, "a", "2")
    guard = Guard(min_requests=20, margin=0.1)
    with pytest.raises(errors.TargetsImpossible):
        await catalog.move("a", "live", (Target(1),), guard=guard)
    alias = await catalog.move("a", "live", (Target(1, 9), Target(2, 1)), guard=guard)
    assert alias.guard == guard


async def test_every_move_is_in_the_history_newest_first(catalog: Catalog) -> None:
    await publish(catalog, "a", "1")
    await publish(catalog, "a", "2")
    await catalog.roll_back("a", "live")
    moves = await catalog.moves("a", "live")
    assert [(m.main, m.by) for m in moves] == [(1, "rollback"), (2, "publish"), (1, "publish")]


async def test_an_alias_can_be_forgotten(catalog: Catalog) -> None:
    await publish(catalog, "a", "1")
    await catalog.move("a", "canary", (Target(1),))
    await catalog.remove_alias("a", "canary")
    with pytest.raises(errors.AdapterNotFound):
        catalog.resolve(Selector("a", alias="canary"))
    with pytest.raises(errors.AdapterNotFound):
        await catalog.remove_alias("a", "canary")


UNKNOWN = [
    Selector("b", alias="live"),
    Selector("a", alias="canary"),
    Selector("a", number=2),
    Selector("a", digest="2" * 12),
]


@pytest.mark.parametrize("selector", UNKNOWN, ids=str)
async def test_what_does_not_exist_is_not_found(catalog: Catalog, selector: Selector) -> None:
    await publish(catalog, "a", "1")
    with pytest.raises(errors.AdapterNotFound):
        catalog.resolve(selector)


async def test_a_misspelt_name_is_answered_with_close_matches(catalog: Catalog) -> None:
    await publish(catalog, "pirate", "1")
    catalog.fail("pirates", errors.NoEffect("x"), FOLDER)
    with pytest.raises(errors.AdapterNotFound) as caught:
        catalog.resolve(Selector("pirat", alias="live"))
    assert caught.value.close_matches == ("pirate",)


async def test_an_adapter_that_never_was_ready_says_why(catalog: Catalog) -> None:
    catalog.fail("a", errors.RankTooLarge("The rank is 9."), FOLDER)
    assert catalog.get("a").state is State.FAILED
    with pytest.raises(errors.AdapterFailed, match=r"The rank is 9\.") as caught:
        catalog.resolve(LIVE_A)
    assert caught.value.reason == "rank_too_large"


async def test_a_refusal_beside_a_live_revision_is_shown_and_stops_nothing(
    catalog: Catalog,
) -> None:
    revision = await publish(catalog, "a", "1")
    catalog.fail("a", errors.Truncated("Cut."), FOLDER)
    adapter = catalog.get("a")
    assert (adapter.state, adapter.reason, adapter.detail) == (State.READY, "truncated", "Cut.")
    assert catalog.resolve(LIVE_A) == revision
    await publish(catalog, "a", "2")
    assert catalog.get("a").reason is None


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


async def test_each_change_is_told_with_what_was_before(database: Database) -> None:
    told: list[tuple[Entry | None, Entry]] = []
    catalog = await open_catalog(database)
    await publish(catalog, "b", "1")
    catalog.watch(lambda old, new: told.append((old, new)))
    assert [(old, new.name) for old, new in told] == [(None, "b")]
    told.clear()
    await publish(catalog, "a", "1")
    await catalog.remove("a")
    assert told[0][0] is None
    assert [after.present for _, after in told] == [True, True, False]
    assert all(before == after for (_, before), (after, _) in itertools.pairwise(told))


async def test_adapters_are_listed_by_name_the_failed_ones_too(catalog: Catalog) -> None:
    await publish(catalog, "b", "1")
    catalog.fail("a", errors.NoEffect("x"), FOLDER)
    found = [(a.name, a.state) for a in catalog.adapters()]
    assert found == [("a", State.FAILED), ("b", State.READY)]


async def test_a_name_that_must_be_new_and_is_not_is_refused(catalog: Catalog) -> None:
    await publish(catalog, "a", "1")
    with pytest.raises(errors.AdapterExists):
        await catalog.add(arrival("a", "2", PATH), is_new=True)
    assert len(catalog.revisions("a")) == 1


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
