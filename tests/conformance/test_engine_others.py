"""Responses, messages and tokens of the real engine, and the official clients on all of them."""

import json
from typing import Any

import jsonschema
import pytest

from conformance.schema import OfficialSchema
from conformance.wire import post, stream
from support import clients

pytestmark = [pytest.mark.engine, pytest.mark.requirement("answers:engine-shapes")]

BASE = "smollm2-135m-instruct"
QUESTION = "What is the capital of France?"
RESPONSE: dict[str, Any] = {
    "model": BASE,
    "input": QUESTION,
    "max_output_tokens": 24,
    "temperature": 0,
}
SCHEMA = {
    "type": "object",
    "properties": {"capital": {"type": "string", "maxLength": 20}},
    "required": ["capital"],
    "additionalProperties": False,
}
FORMAT = {"format": {"type": "json_schema", "name": "a", "schema": SCHEMA, "strict": True}}
RESPONSES: list[dict[str, Any]] = [
    {},
    {"instructions": "Be brief.", "metadata": {"a": "b"}, "store": True, "include": []},
    {"text": {"verbosity": "low"}, "reasoning": {"effort": "low"}, "service_tier": "flex"},
    {"include": ["message.output_text.logprobs"], "top_logprobs": 2, "max_output_tokens": 16},
    {"input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}]},
    {"text": {"format": {"type": "json_object"}}},
    {"tools": [{"type": "function", "name": "f", "parameters": SCHEMA}]},
]


@pytest.mark.parametrize("more", RESPONSES)
async def test_a_response_is_official(
    engine_url: str, openai_schema: OfficialSchema, more: dict[str, Any]
) -> None:
    response = await post(engine_url, "/v1/responses", {**RESPONSE, **more})
    assert response.status_code == 200, response.text
    openai_schema.check("Response", response.json())
    assert response.json()["metadata"] == more.get("metadata")


@pytest.mark.requirement("responses:stream")
@pytest.mark.requirement("answers:public-model")
async def test_a_streamed_response_adds_up(engine_url: str, openai_schema: OfficialSchema) -> None:
    events = await stream(engine_url, "/v1/responses", RESPONSE)
    for event in events:
        openai_schema.check("ResponseStreamEvent", event)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    deltas = [e["delta"] for e in events if e["type"] == "response.output_text.delta"]
    last = events[-1]["response"]
    assert "".join(deltas) == last["output"][0]["content"][0]["text"]
    assert events[0]["response"]["model"] == last["model"] == BASE


@pytest.mark.requirement("responses:incomplete")
async def test_a_response_that_was_cut_off_says_so(engine_url: str) -> None:
    body = {**RESPONSE, "input": "Tell me a long story.", "max_output_tokens": 4}
    *_, last = await stream(engine_url, "/v1/responses", body)
    assert last["type"] == "response.incomplete"
    assert last["response"]["status"] == "incomplete"


@pytest.mark.requirement("responses:stream")
async def test_a_response_holds_its_schema_whole_and_streamed(
    engine_url: str, openai_schema: OfficialSchema
) -> None:
    body = {**RESPONSE, "text": FORMAT, "max_output_tokens": 80}
    answer = (await post(engine_url, "/v1/responses", body)).json()
    *_, last = await stream(engine_url, "/v1/responses", body)
    for response in (answer, last["response"]):
        openai_schema.check("Response", response)
        text = response["output"][0]["content"][0]["text"]
        jsonschema.validate(json.loads(text), SCHEMA)


@pytest.mark.requirement("client:strict")
async def test_the_strict_client_reads_chat_responses_and_their_streams(engine_url: str) -> None:
    async with clients.openai.AsyncOpenAI(
        base_url=f"{engine_url}/v1", api_key="none", _strict_response_validation=True
    ) as client:
        async for _ in await client.responses.create(**RESPONSE, stream=True):
            pass
        answer = await client.responses.create(**RESPONSE)
        assert answer.output_text
        chat = await client.chat.completions.create(
            model=BASE,
            messages=[{"role": "user", "content": QUESTION}],
            max_tokens=8,
            temperature=0,
        )
        assert chat.choices[0].message.content
        with_logprobs = await client.completions.create(
            model=BASE, prompt="A", max_tokens=2, logprobs=1
        )
        assert with_logprobs.choices[0].logprobs
        assert BASE in [model.id async for model in client.models.list()]


MESSAGE: dict[str, Any] = {
    "model": BASE,
    "messages": [{"role": "user", "content": QUESTION}],
    "max_tokens": 24,
    "temperature": 0,
}


@pytest.mark.requirement("messages:answer")
@pytest.mark.parametrize("more", [{}, {"system": "Be brief."}, {"stop_sequences": ["France"]}])
async def test_a_message_is_official(
    engine_url: str, anthropic_schema: OfficialSchema, more: dict[str, Any]
) -> None:
    answer = (await post(engine_url, "/v1/messages", {**MESSAGE, **more})).json()
    anthropic_schema.check("Message", answer)
    events = await stream(engine_url, "/v1/messages", {**MESSAGE, **more})
    for event in events:
        anthropic_schema.check("MessageStreamEvent", event)
    deltas = [e["delta"]["text"] for e in events if e["type"] == "content_block_delta"]
    assert "".join(deltas) == answer["content"][0]["text"]
    assert events[0]["message"]["model"] == BASE


@pytest.mark.requirement("messages:answer")
async def test_anthropics_client_reads_messages_streams_and_counts(engine_url: str) -> None:
    async with clients.anthropic.AsyncAnthropic(
        base_url=engine_url, api_key="none", _strict_response_validation=True
    ) as client:
        # The client of 2026 knows no temperature any more; the wire does.
        greedy = {"temperature": 0}
        asked = {name: MESSAGE[name] for name in ("model", "messages", "max_tokens")}
        answer = await client.messages.create(**asked, extra_body=greedy)
        async with client.messages.stream(**asked, extra_body=greedy) as events:
            streamed = await events.get_final_message()
        count = await client.messages.count_tokens(model=BASE, messages=asked["messages"])
    texts = [getattr(message.content[0], "text", None) for message in (streamed, answer)]
    assert texts[0]
    assert texts[0] == texts[1]
    assert count.input_tokens == answer.usage.input_tokens


@pytest.mark.requirement("tokenize:round-trip")
async def test_a_text_survives_its_tokens(engine_url: str) -> None:
    text = "Bonjour, 世界! 1 + 1 = 2"
    tokens = (
        await post(engine_url, "/tokenize", {"prompt": text, "add_special_tokens": False})
    ).json()
    back = (await post(engine_url, "/detokenize", {"tokens": tokens["tokens"]})).json()
    assert tokens["count"] == len(tokens["tokens"])
    assert back["prompt"] == text
