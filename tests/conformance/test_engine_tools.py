"""Forced calls of the real engine hold the schema of their parameters, on every endpoint."""

import json
from typing import Any

import jsonschema
import pytest

from conformance.schema import OfficialSchema
from conformance.wire import DONE, post, stream

pytestmark = [pytest.mark.engine, pytest.mark.requirement("tools:forced")]

BASE = "smollm2-135m-instruct"
SCHEMA: dict[str, Any] = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 20},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
    },
    "required": ["city", "unit"],
    "additionalProperties": False,
}
WEATHER = {"name": "get_weather", "description": "The weather in a city", "parameters": SCHEMA}
CLOCK = {"name": "get_time", "description": "The time now"}
ASK = [{"role": "user", "content": "What is the weather in Paris, in celsius?"}]
CHAT: dict[str, Any] = {
    "model": BASE,
    "messages": ASK,
    "tools": [{"type": "function", "function": WEATHER}],
    "max_tokens": 120,
    "temperature": 0,
}
NAMED = {"type": "function", "function": {"name": "get_weather"}}


def check_arguments(arguments: str) -> None:
    jsonschema.validate(json.loads(arguments), SCHEMA)


@pytest.mark.requirement("tools:finish-reason")
@pytest.mark.parametrize(("choice", "reason"), [("required", "tool_calls"), (NAMED, "stop")])
async def test_a_forced_call_holds_its_schema(
    engine_url: str, openai_schema: OfficialSchema, choice: Any, reason: str
) -> None:
    body = {**CHAT, "tool_choice": choice}
    answer = (await post(engine_url, "/v1/chat/completions", body)).json()
    openai_schema.check("CreateChatCompletionResponse", answer)
    [found] = answer["choices"]
    assert found["finish_reason"] == reason
    assert found["message"]["content"] is None
    for call in found["message"]["tool_calls"]:
        assert call["function"]["name"] == "get_weather"
        check_arguments(call["function"]["arguments"])


@pytest.mark.requirement("tools:finish-reason")
@pytest.mark.parametrize(("choice", "reason"), [("required", "tool_calls"), (NAMED, "stop")])
async def test_a_streamed_call_adds_up_to_its_schema(
    engine_url: str, openai_schema: OfficialSchema, choice: Any, reason: str
) -> None:
    body = {**CHAT, "tool_choice": choice, "parallel_tool_calls": False}
    *chunks, done = await stream(engine_url, "/v1/chat/completions", body)
    assert done == DONE
    for chunk in chunks:
        openai_schema.check("CreateChatCompletionStreamResponse", chunk)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    calls = [call for delta in deltas for call in delta.get("tool_calls", [])]
    assert calls[0]["function"]["name"] == "get_weather"
    assert calls[0]["id"]
    check_arguments("".join(call["function"].get("arguments", "") for call in calls))
    assert chunks[-1]["choices"][0]["finish_reason"] == reason


@pytest.mark.requirement("tools:no-arguments")
async def test_a_function_without_parameters_is_called_with_none(
    engine_url: str, openai_schema: OfficialSchema
) -> None:
    tools = [{"type": "function", "function": CLOCK}]
    body = {**CHAT, "tools": tools, "tool_choice": "required", "parallel_tool_calls": False}
    answer = (await post(engine_url, "/v1/chat/completions", body)).json()
    openai_schema.check("CreateChatCompletionResponse", answer)
    [call] = answer["choices"][0]["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {}


async def test_a_call_of_the_past_is_part_of_the_conversation(
    engine_url: str, openai_schema: OfficialSchema
) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    messages = [
        *ASK,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "20 C"},
    ]
    body = {**CHAT, "messages": messages, "max_tokens": 16}
    answer = (await post(engine_url, "/v1/chat/completions", body)).json()
    openai_schema.check("CreateChatCompletionResponse", answer)


RESPONSE: dict[str, Any] = {
    "model": BASE,
    "input": "What is the weather in Paris, in celsius?",
    "tools": [{"type": "function", **WEATHER}],
    "max_output_tokens": 120,
    "temperature": 0,
}
CHOICES = ["required", {"type": "function", "name": "get_weather"}]


@pytest.mark.parametrize("choice", CHOICES)
async def test_a_forced_call_of_a_response_holds_its_schema(
    engine_url: str, openai_schema: OfficialSchema, choice: Any
) -> None:
    body = {**RESPONSE, "tool_choice": choice}
    answer = (await post(engine_url, "/v1/responses", body)).json()
    openai_schema.check("Response", answer)
    calls = [item for item in answer["output"] if item["type"] == "function_call"]
    assert calls
    for call in calls:
        check_arguments(call["arguments"])


@pytest.mark.parametrize("choice", CHOICES)
async def test_a_streamed_call_of_a_response_holds_its_schema(
    engine_url: str, openai_schema: OfficialSchema, choice: Any
) -> None:
    events = await stream(engine_url, "/v1/responses", {**RESPONSE, "tool_choice": choice})
    for event in events:
        openai_schema.check("ResponseStreamEvent", event)
    done = [e for e in events if e["type"] == "response.function_call_arguments.done"]
    assert done
    for event in done:
        check_arguments(event["arguments"])


MESSAGE: dict[str, Any] = {
    "model": BASE,
    "messages": ASK,
    "tools": [{"name": "get_weather", "description": "The weather", "input_schema": SCHEMA}],
    "max_tokens": 120,
    "temperature": 0,
}


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "get_weather"}])
async def test_a_forced_call_of_a_message_holds_its_schema(
    engine_url: str, anthropic_schema: OfficialSchema, choice: dict[str, Any]
) -> None:
    body = {**MESSAGE, "tool_choice": choice}
    answer = (await post(engine_url, "/v1/messages", body)).json()
    anthropic_schema.check("Message", answer)
    assert answer["stop_reason"] == "tool_use"
    for block in answer["content"]:
        assert block["type"] == "tool_use"
        jsonschema.validate(block["input"], SCHEMA)
    events = await stream(engine_url, "/v1/messages", body)
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    check_arguments("".join(delta["partial_json"] for delta in deltas))
