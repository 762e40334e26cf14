"""Every promise of the store of responses, on PostgreSQL; and one response that two servers see."""

import pytest

from support.keeping import Clock, opened, record
from support.keeping_story import STORIES, Story
from veneer_server.conversations.responses import Responses
from veneer_server.conversations.runs import Runs

pytestmark = pytest.mark.services


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
async def test_on_postgresql(story: Story, postgres_url: str) -> None:
    clock = Clock()
    async with opened(postgres_url, clock) as store:
        await story(store, clock)


async def test_a_response_is_cancelled_on_another_server(postgres_url: str) -> None:
    clock = Clock()
    async with opened(postgres_url, clock) as one, opened(postgres_url, clock) as two:
        await one.add(record(status="in_progress"))
        runs = Runs(two, lambda document, number: b"", most=1, longest_s=1)
        assert (await Responses(two, runs).cancel("me", "resp_1"))["status"] == "cancelled"
        assert await one.settle(record(status="in_progress"), record().document) is False
