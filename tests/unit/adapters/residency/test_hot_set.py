"""What the engine holds follows the aliases: what they left goes, what they came back to stays."""

import asyncio
from dataclasses import replace

from support.builders import FOLDER, revision
from support.fake_engine import Rig, settle
from veneer_adapters.catalog.alias import Target
from veneer_adapters.catalog.entry import Entry
from veneer_adapters.lifecycle import State
from veneer_adapters.residency.hot_set import HotSet

ONE, TWO = (
    replace(revision("a", digit, number=number), state=State.READY)
    for number, digit in ((1, "1"), (2, "2"))
)
EMPTY = Entry("a", FOLDER, 0, present=True, revisions=(ONE, TWO))


def live_at(entry: Entry, number: int) -> Entry:
    return entry.moved("live", (Target(number),), now=0)


async def test_a_revision_no_alias_points_to_leaves_when_it_is_idle() -> None:
    rig = Rig()
    hot_set = HotSet(rig.residency)
    first = live_at(EMPTY, 1)
    async with asyncio.timeout(5):
        async with rig.residency.lease(ONE):
            hot_set.on_change(first, live_at(first, 2))
            await settle()
            assert rig.host.calls == ["load a"]
        await settle()
    assert rig.host.calls == ["load a", "unload a"]


async def test_a_revision_that_is_live_again_before_it_was_idle_stays() -> None:
    rig = Rig()
    hot_set = HotSet(rig.residency)
    first = live_at(EMPTY, 1)
    second = live_at(first, 2)
    async with asyncio.timeout(5):
        async with rig.residency.lease(ONE):
            hot_set.on_change(first, second)
            hot_set.on_change(second, live_at(second, 1))
        await settle()
    assert rig.host.calls == ["load a"]


async def test_a_pin_survives_a_move_away_and_back() -> None:
    rig = Rig()
    hot_set = HotSet(rig.residency)
    first = replace(live_at(EMPTY, 1), pinned=True)
    second = live_at(first, 2)
    keeping = asyncio.create_task(hot_set.keep())
    try:
        async with asyncio.timeout(5):
            hot_set.on_change(None, first)
            await settle()
            hot_set.on_change(first, second)
            hot_set.on_change(second, live_at(second, 1))
            await settle()
    finally:
        keeping.cancel()
    assert [r.revision for r in rig.residency.snapshot() if r.pinned] == [ONE.engine_name]


async def test_one_slot_stays_free_however_many_adapters_are_pinned() -> None:
    rig = Rig(device=2, host=4)
    hot_set = HotSet(rig.residency)
    for name, digit in (("a", "1"), ("b", "2"), ("c", "3")):
        only = replace(revision(name, digit, number=1), state=State.READY)
        entry = Entry(name, FOLDER, 0, present=True, revisions=(only,), pinned=True)
        hot_set.on_change(None, live_at(entry, 1))
    async with asyncio.timeout(5):
        await hot_set.load([], room=3)
    assert [r.adapter for r in rig.residency.snapshot() if r.pinned] == ["a"]
