"""Responses with state and conversations, on both engines, with the official client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from conformance.schema import OfficialSchema
from conformance.wire import events, post
from support import clients
from support.serving import POLL_S, Served

pytestmark = pytest.mark.requirement("state:answers")

FIRST = "My name is Ada, and I collect old maps of Portugal."
SECOND = "What is my name?"
ENDED = ("completed", "incomplete", "failed", "cancelled")


@pytest.fixture(params=["echo", pytest.param("vllm", marks=pytest.mark.engine)])
def where(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Where a server listens, and the name of its model."""
    if request.param == "echo":
        served: Served = request.getfixturevalue("echo")
        return served.url, "echo"
    url: str = request.getfixturevalue("engine_url")
    return url, "smollm2-135m-instruct"


class Client:
    """The official client, as strict as it can be, and a plain one beside it."""

    def __init__(self, official: Any, url: str, model: str, schema: OfficialSchema) -> None:
        self.responses = official.responses
        self.conversations = official.conversations
        self.url = url
        self.model = model
        self._schema = schema

    async def turn(self, given: Any, **more: Any) -> Any:
        """Create a response, and hold it to the schema."""
        body = {"model": self.model, "input": given, "max_output_tokens": 24, "temperature": 0}
        return self.checked(await self.responses.create(**body, **more))

    def checked(self, response: Any, kind: str = "Response") -> Any:
        self._schema.check(kind, response.model_dump(mode="json", exclude_unset=True))
        return response

    async def ended(self, response: Any) -> Any:
        """Poll a response in the background until it has ended."""
        async with asyncio.timeout(60):
            while response.status not in ENDED:
                await asyncio.sleep(POLL_S)
                response = self.checked(await self.responses.retrieve(response.id))
        return response

    async def prompt_tokens(self, given: Any) -> int:
        """Return how many tokens the prompt of ``given`` has."""
        found = await self.responses.input_tokens.count(model=self.model, input=given)
        count: int = self.checked(found, "TokenCountsResource").input_tokens
        return count


@pytest_asyncio.fixture
async def client(where: tuple[str, str], openai_schema: OfficialSchema) -> AsyncIterator[Client]:
    url, model = where
    async with clients.openai.AsyncOpenAI(
        base_url=f"{url}/v1", api_key="none", max_retries=0, _strict_response_validation=True
    ) as official:
        yield Client(official, url, model, openai_schema)


def said(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def answered(response: Any) -> dict[str, str]:
    return {"role": "assistant", "content": response.output_text}


async def refused(work: Any) -> tuple[int, str | None, str | None]:
    with pytest.raises(clients.openai.APIStatusError) as found:
        await work
    return found.value.status_code, found.value.code, found.value.param


@pytest.mark.requirement("state:previous")
async def test_the_next_turn_has_the_first_one_in_its_prompt(client: Client) -> None:
    first = await client.turn(FIRST)
    second = await client.turn(SECOND, previous_response_id=first.id)
    assert second.previous_response_id == first.id
    by_hand = [said(FIRST), answered(first), said(SECOND)]
    assert second.usage.input_tokens == await client.prompt_tokens(by_hand)
    third = await client.turn("And what do I collect?", previous_response_id=second.id)
    by_hand += [answered(second), said("And what do I collect?")]
    assert third.usage.input_tokens == await client.prompt_tokens(by_hand)


@pytest.mark.requirement("state:previous")
async def test_instructions_are_not_carried_over(client: Client) -> None:
    first = await client.turn(FIRST, instructions="Answer like a very polite old sailor.")
    second = await client.turn(SECOND, previous_response_id=first.id)
    by_hand = [said(FIRST), answered(first), said(SECOND)]
    assert second.usage.input_tokens == await client.prompt_tokens(by_hand)


@pytest.mark.requirement("state:previous")
async def test_deleting_the_first_turn_breaks_no_later_one(client: Client) -> None:
    first = await client.turn(FIRST)
    second = await client.turn(SECOND, previous_response_id=first.id)
    await client.responses.delete(first.id)
    assert await refused(client.responses.retrieve(first.id)) == (404, None, None)
    work = client.turn(SECOND, previous_response_id=first.id)
    known = (400, "previous_response_not_found", "previous_response_id")
    assert await refused(work) == known
    third = await client.turn("Once more.", previous_response_id=second.id)
    assert third.usage.input_tokens > second.usage.input_tokens


@pytest.mark.requirement("state:references")
async def test_a_reference_stands_for_the_item(client: Client) -> None:
    first = await client.turn(FIRST)
    for reference in ({"type": "item_reference"}, {}):
        given = [said(FIRST), {**reference, "id": first.output[0].id}, said(SECOND)]
        second = await client.turn(given)
        by_hand = [said(FIRST), answered(first), said(SECOND)]
        assert second.usage.input_tokens == await client.prompt_tokens(by_hand)


@pytest.mark.requirement("state:references")
async def test_an_item_that_was_not_stored_cannot_be_referred_to(client: Client) -> None:
    first = await client.turn(FIRST, store=False)
    assert first.store is False
    work = client.turn([{"type": "item_reference", "id": first.output[0].id}, said(SECOND)])
    assert await refused(work) == (404, None, "input")
    assert await refused(client.responses.retrieve(first.id)) == (404, None, None)


@pytest.mark.requirement("state:retrieve")
async def test_a_stored_response_is_retrieved_as_it_was_answered(client: Client) -> None:
    made = await client.turn(FIRST, metadata={"a": "b"})
    found = client.checked(await client.responses.retrieve(made.id))
    assert found.model_dump() == made.model_dump()


@pytest.mark.requirement("state:retrieve")
async def test_a_streamed_response_is_there_when_its_last_event_comes(client: Client) -> None:
    body = {"model": client.model, "input": FIRST, "max_output_tokens": 24}
    async for event in await client.responses.create(**body, stream=True):
        last = event
    found = client.checked(await client.responses.retrieve(last.response.id))
    assert found.model_dump() == last.response.model_dump()
    assert found.store is True


@pytest.mark.requirement("state:input-items")
async def test_the_items_of_the_input_come_in_pages(client: Client) -> None:
    first = await client.turn([said(f"number {n}") for n in range(5)])
    second = await client.turn(SECOND, previous_response_id=first.id)
    texts, after = [], None
    for _ in range(4):
        page = await client.responses.input_items.list(
            second.id, order="asc", limit=2, **({"after": after} if after else {})
        )
        client.checked(page, "ResponseItemList")
        texts += [item.content[0].text for item in page.data]
        after = page.last_id
    expected = [*(f"number {n}" for n in range(5)), first.output_text, SECOND]
    assert texts == expected
    newest = await client.responses.input_items.list(second.id)
    assert newest.data[0].content[0].text == SECOND


@pytest.mark.requirement("state:background")
async def test_a_response_in_the_background_is_polled(client: Client) -> None:
    begun = await client.turn(FIRST, background=True)
    assert begun.status == "queued"
    assert begun.background is True
    done = await client.ended(begun)
    assert done.status in ("completed", "incomplete")
    assert done.output_text
    assert (await client.responses.cancel(done.id)).status == done.status
    second = await client.turn(SECOND, previous_response_id=done.id)
    assert second.usage.input_tokens > done.usage.input_tokens


@pytest.mark.requirement("state:background")
async def test_only_a_response_in_the_background_can_be_cancelled(client: Client) -> None:
    done = await client.turn(FIRST)
    assert await refused(client.responses.cancel(done.id)) == (400, None, None)
    assert await refused(client.turn(FIRST, background=True, store=False)) == (
        400,
        None,
        "background",
    )


@pytest.mark.requirement("state:background")
async def test_a_background_request_for_an_unknown_model_is_refused_at_once(
    client: Client,
) -> None:
    work = client.responses.create(model="nobody", input=FIRST, background=True)
    assert await refused(work) == (404, "model_not_found", "model")


@pytest.mark.requirement("state:resume")
async def test_a_stream_is_read_on_where_it_was_lost(
    client: Client, openai_schema: OfficialSchema
) -> None:
    body = {"model": client.model, "input": FIRST, "max_output_tokens": 16, "background": True}
    key = {"authorization": "Bearer none"}
    response = await post(client.url, "/v1/responses", {**body, "stream": True}, **key)
    whole = events(response.text)
    for event in whole:
        openai_schema.check("ResponseStreamEvent", event)
    assert [event["sequence_number"] for event in whole] == list(range(len(whole)))
    rid = whole[0]["response"]["id"]
    stream = await client.responses.retrieve(rid, stream=True, starting_after=4)
    rest = [event.sequence_number async for event in stream]
    assert rest == list(range(5, len(whole)))
    found = await client.responses.retrieve(rid)
    assert found.status == whole[-1]["response"]["status"]


@pytest.mark.requirement("state:resume")
async def test_a_response_without_events_cannot_be_streamed(client: Client) -> None:
    done = await client.turn(FIRST)
    assert await refused(client.responses.retrieve(done.id, stream=True)) == (400, None, "stream")


@pytest.mark.requirement("state:input-tokens")
async def test_the_count_of_tokens_is_what_the_answer_uses(client: Client) -> None:
    first = await client.turn(FIRST)
    assert first.usage.input_tokens == await client.prompt_tokens(FIRST)
    found = await client.responses.input_tokens.count(
        model=client.model, input=SECOND, previous_response_id=first.id, instructions="Be brief."
    )
    more = {"previous_response_id": first.id, "instructions": "Be brief."}
    second = await client.turn(SECOND, **more)
    assert second.usage.input_tokens == found.input_tokens


@pytest.mark.requirement("conversations:life")
async def test_a_conversation_lives(client: Client) -> None:
    made = await client.conversations.create(metadata={"topic": "maps"}, items=[said(FIRST)])
    client.checked(made, "ConversationResource")
    assert (await client.conversations.retrieve(made.id)).metadata == {"topic": "maps"}
    changed = await client.conversations.update(made.id, metadata={"topic": "names"})
    assert changed.metadata == {"topic": "names"}
    gone = client.checked(await client.conversations.delete(made.id), "DeletedConversationResource")
    assert gone.deleted is True
    assert await refused(client.conversations.retrieve(made.id)) == (404, None, None)
    work = client.turn(SECOND, conversation=made.id)
    assert await refused(work) == (404, None, "conversation")


@pytest.mark.requirement("conversations:items")
async def test_items_are_added_listed_found_and_removed(client: Client) -> None:
    made = await client.conversations.create()
    given = [said(FIRST), {"role": "assistant", "content": "Hello, Ada."}]
    added = await client.conversations.items.create(made.id, items=given)
    client.checked(added, "ConversationItemList")
    listed = await client.conversations.items.list(made.id, order="asc")
    client.checked(listed, "ConversationItemList")
    assert [item.id for item in listed.data] == [item.id for item in added.data]
    one = await client.conversations.items.retrieve(added.data[1].id, conversation_id=made.id)
    assert one.content[0].text == "Hello, Ada."
    left = await client.conversations.items.delete(added.data[1].id, conversation_id=made.id)
    assert left.id == made.id
    work = client.conversations.items.retrieve(added.data[1].id, conversation_id=made.id)
    assert await refused(work) == (404, None, None)
    assert len((await client.conversations.items.list(made.id)).data) == 1


@pytest.mark.requirement("conversations:turns")
async def test_turns_add_to_their_conversation(client: Client) -> None:
    made = await client.conversations.create(items=[said(FIRST)])
    first = await client.turn(SECOND, conversation=made.id)
    assert first.conversation.id == made.id
    by_hand = [said(FIRST), said(SECOND)]
    assert first.usage.input_tokens == await client.prompt_tokens(by_hand)
    begun = await client.turn("And then?", conversation={"id": made.id}, background=True)
    second = await client.ended(begun)
    by_hand += [answered(first), said("And then?")]
    assert second.usage.input_tokens == await client.prompt_tokens(by_hand)
    items = await client.conversations.items.list(made.id, order="asc", limit=100)
    texts = [item.content[0].text for item in items.data]
    assert texts == [FIRST, SECOND, first.output_text, "And then?", second.output_text]
    both = client.turn("x", conversation=made.id, previous_response_id=first.id)
    assert await refused(both) == (400, None, "previous_response_id")


@pytest.mark.requirement("conversations:turns")
async def test_two_turns_at_once_are_added_one_after_the_other(client: Client) -> None:
    made = await client.conversations.create()
    turns = [client.turn(f"question {n}", conversation=made.id) for n in range(4)]
    done = await asyncio.gather(*turns)
    listed = await client.conversations.items.list(made.id, order="asc", limit=100)
    texts = [item.content[0].text for item in listed.data]
    pairs = {tuple(texts[at : at + 2]) for at in range(0, 8, 2)}
    assert pairs == {(f"question {n}", response.output_text) for n, response in enumerate(done)}
