"""What a store of responses promises, on whichever database it is."""

import asyncio
from collections.abc import Awaitable, Callable

from support.keeping import TTL_S, Clock, message, record
from veneer_server.conversations.conversations import Conversations
from veneer_server.conversations.records import Item
from veneer_server.conversations.runs import Runs
from veneer_server.conversations.sql import sweeping_rows
from veneer_server.conversations.sql.store import Store
from veneer_server.conversations.upkeep import SILENT_S, Upkeep

Story = Callable[[Store, Clock], Awaitable[None]]


def _runs(store: Store) -> Runs:
    return Runs(store, lambda document, number: b"", most=1, longest_s=1)


def _conversations(store: Store) -> Conversations:
    return Conversations(store, most_items=10, ttl_s=TTL_S)


async def what_is_added_is_found_by_its_owner(store: Store, clock: Clock) -> None:
    await store.add(record(context=[message("msg_before", "ä→🦙\x00")]))
    found = await store.response("me", "resp_1")
    assert found == record(context=[message("msg_before", "ä→🦙\x00")])
    assert [item["id"] for item in found.items] == ["msg_before", "msg_in1", "msg_out1"]
    assert await store.response("you", "resp_1") is None
    assert await store.items("me", ["msg_out1", "msg_in1", "msg_no"]) == {
        "msg_in1": message("msg_in1"),
        "msg_out1": message("msg_out1"),
    }
    assert await store.items("you", ["msg_out1"]) == {}
    assert await store.delete("you", "resp_1") is False
    assert await store.delete("me", "resp_1") is True
    assert await store.items("me", ["msg_out1"]) == {}


async def the_same_item_in_two_responses_is_found_in_the_one_that_is_left(
    store: Store, clock: Clock
) -> None:
    shared = [message("msg_shared"), message("msg_shared")]
    await store.add(record(1, input=shared))
    await store.add(record(2, input=shared))
    await store.delete("me", "resp_2")
    assert await store.items("me", ["msg_shared"]) == {"msg_shared": message("msg_shared")}


async def what_is_expired_is_not_there_and_then_gone(store: Store, clock: Clock) -> None:
    await store.add(record())
    made = await _conversations(store).create("me", {}, [])
    clock.now += TTL_S
    assert await store.response("me", "resp_1") is None
    assert await store.items("me", ["msg_out1"]) == {}
    assert await store.conversation("me", made.id) is None
    await Upkeep(store, _runs(store), max_bytes=10**6).sweep()
    async with store.reading() as connection:
        assert await sweeping_rows.total_size(connection) == 0


async def the_oldest_go_when_there_is_too_much(store: Store, clock: Clock) -> None:
    await store.add(record(9, status="in_progress"))
    for number in range(5):
        clock.now += 1
        await store.add(record(number, context=[message("msg_c", "long " * 200)]))
    await Upkeep(store, _runs(store), max_bytes=4000).sweep()
    left = [n for n in (*range(5), 9) if await store.response("me", f"resp_{n}")]
    assert left == [3, 4, 9]
    async with store.reading() as connection:
        assert await sweeping_rows.total_size(connection) <= 4000


async def an_ended_response_changes_no_more(store: Store, clock: Clock) -> None:
    queued = record(status="queued")
    await store.add(queued)
    assert await store.settle(queued, {**queued.document, "status": "cancelled"}) is True
    assert await store.settle(queued, record().document) is False
    found = await store.response("me", "resp_1")
    assert found is not None
    assert found.status == found.document["status"] == "cancelled"


async def a_run_whose_server_died_is_ended_by_another(store: Store, clock: Clock) -> None:
    await store.add(record(1, status="in_progress"))
    clock.now += SILENT_S - 1
    await store.add(record(2, status="queued"))
    upkeep = Upkeep(store, _runs(store), max_bytes=10**6)
    await upkeep.end_silent()
    assert [await _status(store, n) for n in (1, 2)] == ["in_progress", "queued"]
    clock.now += 1
    await upkeep.end_silent()
    assert [await _status(store, n) for n in (1, 2)] == ["failed", "queued"]


async def _status(store: Store, number: int) -> str:
    found = await store.response("me", f"resp_{number}")
    assert found is not None
    return found.status


async def appending_at_once_loses_and_mixes_nothing(store: Store, clock: Clock) -> None:
    made = await _conversations(store).create("me", {}, [])

    async def turn(number: int) -> None:
        await store.add(record(number), conversation=made.id)

    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        for number in range(8):
            tasks.create_task(turn(number))
    found = await store.conversation("me", made.id)
    assert found is not None
    ids = [item["id"] for item in found[1]]
    pairs = [tuple(ids[at : at + 2]) for at in range(0, 16, 2)]
    assert sorted(pairs) == [(f"msg_in{n}", f"msg_out{n}") for n in range(8)]


async def a_turn_in_a_deleted_conversation_is_stored_all_the_same(
    store: Store, clock: Clock
) -> None:
    await store.add(record(), conversation="conv_gone")
    assert await store.response("me", "resp_1") is not None


async def pages_of_a_conversation_follow_each_other(store: Store, clock: Clock) -> None:
    conversations = _conversations(store)
    made = await conversations.create("me", {}, [_said(n) for n in range(5)])
    for newest in (False, True):
        seen: list[str] = []
        after = None
        while True:
            page = await conversations.page("me", made.id, after=after, limit=2, newest=newest)
            seen += [item["content"][0]["text"] for item in page.items]
            after = page.items[-1]["id"]
            if not page.more:
                break
        expected = [str(n) for n in range(5)]
        assert seen == (expected[::-1] if newest else expected)


def _said(number: int) -> Item:
    return {"role": "user", "content": str(number)}


STORIES: list[Story] = [
    what_is_added_is_found_by_its_owner,
    the_same_item_in_two_responses_is_found_in_the_one_that_is_left,
    what_is_expired_is_not_there_and_then_gone,
    the_oldest_go_when_there_is_too_much,
    an_ended_response_changes_no_more,
    a_run_whose_server_died_is_ended_by_another,
    appending_at_once_loses_and_mixes_nothing,
    a_turn_in_a_deleted_conversation_is_stored_all_the_same,
    pages_of_a_conversation_follow_each_other,
]
