"""Every promise of the store, on SQLite."""

from pathlib import Path

import pytest

from support.keeping import Clock, opened, record
from support.keeping_story import STORIES, Story
from veneer_server.conversations.conversations import Conversations
from veneer_server.conversations.errors import StateRefused, StateUnavailable


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
async def test_on_sqlite(story: Story, tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path / "catalog.db", clock) as store:
        await story(store, clock)


async def test_what_is_kept_survives_the_process(tmp_path: Path) -> None:
    async with opened(tmp_path / "catalog.db", Clock()) as store:
        await store.add(record())
    async with opened(tmp_path / "catalog.db", Clock()) as store:
        assert await store.response("me", "resp_1") == record()


async def test_after_a_failed_write_the_store_is_in_doubt_until_one_succeeds(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path / "catalog.db", Clock()) as store:
        await store.add(record())
        store.require_writable()
        with pytest.raises(StateUnavailable):
            await store.add(record())  # the same id once more
        with pytest.raises(StateUnavailable):
            store.require_writable()
        await store.add(record(2))
        store.require_writable()


async def test_a_conversation_takes_no_more_items_than_its_bound(tmp_path: Path) -> None:
    async with opened(tmp_path / "catalog.db", Clock()) as store:
        conversations = Conversations(store, most_items=3, ttl_s=100)
        said = {"role": "user", "content": "x"}
        made = await conversations.create("me", {}, [said] * 2)
        await conversations.add("me", made.id, [said])
        with pytest.raises(StateRefused, match="3 items"):
            await conversations.add("me", made.id, [said])
