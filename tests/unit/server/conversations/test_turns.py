"""What an engine is asked, and what is kept of its answer."""

from pathlib import Path
from typing import Any

import pytest

from support.keeping import Clock, opened
from veneer_server.conversations.errors import (
    ConversationNotFound,
    ItemNotFound,
    PreviousResponseNotFound,
    StateUnavailable,
)
from veneer_server.conversations.turns import Turn, Turns

ANSWER = {"id": "msg_a", "type": "message", "role": "assistant", "content": [{"text": "4"}]}


def document(turn: Turn, **more: Any) -> dict[str, Any]:
    return {"id": turn.id, "status": "completed", "output": [ANSWER], "background": False, **more}


async def test_a_request_without_state_reaches_the_engine_as_it_is(tmp_path: Path) -> None:
    async with opened(tmp_path / "catalog.db", Clock()) as store:
        turns = Turns(store, by_default=True)
        body = {"model": "m", "input": "2+2?", "store": True, "temperature": 0}
        turn = await turns.begin("me", body)
        assert turn.body(body) == {"model": "m", "input": "2+2?", "temperature": 0}
        assert turn.shown() == {
            "background": False,
            "conversation": None,
            "previous_response_id": None,
            "store": True,
        }


async def test_the_next_turn_begins_with_all_that_was_said(tmp_path: Path) -> None:
    async with opened(tmp_path / "catalog.db", Clock()) as store:
        turns = Turns(store, by_default=True)
        first = await turns.begin("me", {"input": "2+2?"})
        await turns.finish(first, document(first))
        body = {"input": "sure?", "previous_response_id": first.id}
        second = await turns.begin("me", body)
        said = [(item["role"], item["content"][0]["text"]) for item in second.body(body)["input"]]
        assert said == [("user", "2+2?"), ("assistant", "4"), ("user", "sure?")]
        for given in (None, []):
            asked = {"previous_response_id": first.id, "input": given}
            again = await turns.begin("me", asked)
            assert len(again.body(asked)["input"]) == 2


async def test_a_response_that_is_not_stored_leaves_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path / "catalog.db", Clock()) as store:
        turns = Turns(store, by_default=True)
        turn = await turns.begin("me", {"input": "2+2?", "store": False})
        await turns.finish(turn, document(turn))
        assert await store.response("me", turn.id) is None


async def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    async with opened(tmp_path / "catalog.db", Clock()) as store:
        turns = Turns(store, by_default=True)
        for id_ in ("resp_1", "", "resp_\x00", "x" * 500):
            with pytest.raises(PreviousResponseNotFound):
                await turns.begin("me", {"input": "x", "previous_response_id": id_})
            with pytest.raises(ConversationNotFound):
                await turns.begin("me", {"input": "x", "conversation": id_})
            with pytest.raises(ItemNotFound):
                await turns.begin("me", {"input": [{"id": id_}]})


async def test_only_who_did_not_ask_for_it_gets_an_answer_that_is_not_stored(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path / "catalog.db", Clock()) as store:
        turns = Turns(store, by_default=True)
        usual = await turns.begin("me", {"input": "x"})
        asked = await turns.begin("me", {"input": "x", "store": True})
        await turns.finish(usual, document(usual, store=True))
        assert (await turns.finish(usual, document(usual, store=True)))["store"] is False
        with pytest.raises(StateUnavailable):
            await turns.finish(
                usual.__class__(usual.id, "me", asked.asked, [], "x"),
                {**document(usual), "store": True},
            )
        with pytest.raises(StateUnavailable):
            await turns.begin("me", {"input": "x", "store": True})
        assert (await turns.begin("me", {"input": "x"})).asked.keep.value == "by default"
