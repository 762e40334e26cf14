"""What names mean, and what becomes of aliases and refusals."""

import itertools

import pytest

from unit.adapters.catalog.shelves import (
    EFFECT,
    FOLDER,
    LIVE_A,
    PATH,
    arrival,
    open_catalog,
    publish,
)
from veneer_adapters import errors
from veneer_adapters.catalog.alias import Guard, Target
from veneer_adapters.catalog.catalog import Catalog, Entry
from veneer_adapters.catalog.database import Database
from veneer_adapters.lifecycle import State
from veneer_adapters.names import Selector


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
