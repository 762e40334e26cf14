"""The real engine keeps a schema, whatever the model would say."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from conformance.wire import post

pytestmark = [pytest.mark.engine, pytest.mark.requirement("chat:json-schema")]

BASE = "smollm2-135m-instruct"


def an_object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


SCHEMAS: dict[str, dict[str, Any]] = {
    "array without items": {"type": "array", "minItems": 2, "maxItems": 3},
    "tuple": {"type": "array", "prefixItems": [{"enum": ["a"]}, {"type": "boolean"}],
              "items": False, "minItems": 2},
    "pattern with maxLength": an_object(c={"type": "string", "pattern": "^[a-z]+$",
                                           "maxLength": 4}),
    "allOf": an_object(age={"allOf": [{"type": "integer"}, {"minimum": 3, "maximum": 99}]}),
    "constraint beside a reference": {
        "$defs": {"n": {"type": "integer"}},
        **an_object(n={"$ref": "#/$defs/n", "minimum": 500, "maximum": 600}),
    },
    "required beside anyOf": {
        "type": "object", "additionalProperties": False,
        "properties": {"a": {"type": "boolean"}, "b": {"type": "boolean"}},
        "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
    },
    "multipleOf": an_object(n={"type": "integer", "multipleOf": 25, "minimum": 100,
                               "maximum": 900}),
    "patternProperties": {"type": "object", "patternProperties": {"^n_[ab]$": {"type": "boolean"}},
                          "additionalProperties": False, "minProperties": 1, "maxProperties": 1},
}  # fmt: skip
"""Each was broken, or answered with 500, when admission and engine had different backends."""


def chat_asks(schema: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    messages = [{"role": "user", "content": "Tell me about a cat named Tom, aged 2."}]
    return "/v1/chat/completions", {"messages": messages, "response_format": form}


def responses_asks(schema: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    form = {"type": "json_schema", "name": "x", "schema": schema}
    return "/v1/responses", {"input": "Tell me about a cat.", "text": {"format": form}}


@pytest.mark.parametrize("name", SCHEMAS)
async def test_an_answer_keeps_its_schema(engine_url: str, name: str) -> None:
    path, body = chat_asks(SCHEMAS[name])
    body |= {"model": BASE, "temperature": 0, "max_tokens": 200, "logit_bias": {"216": -100}}
    response = await post(engine_url, path, body)
    assert response.status_code == 200, response.text
    [choice] = response.json()["choices"]
    assert choice["finish_reason"] == "stop", choice
    Draft202012Validator(SCHEMAS[name]).validate(json.loads(choice["message"]["content"]))


async def test_responses_keep_it_too(engine_url: str) -> None:
    path, body = responses_asks(SCHEMAS["allOf"])
    body |= {"model": BASE, "temperature": 0, "max_output_tokens": 100}
    answer = (await post(engine_url, path, body)).json()
    [item] = answer["output"]
    Draft202012Validator(SCHEMAS["allOf"]).validate(json.loads(item["content"][0]["text"]))


async def test_a_forced_call_keeps_the_schema_of_its_parameters(engine_url: str) -> None:
    schema = SCHEMAS["constraint beside a reference"]
    body = {
        "model": BASE,
        "messages": [{"role": "user", "content": "Call it with 1."}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "temperature": 0,
        "max_tokens": 100,
    }
    answer = (await post(engine_url, "/v1/chat/completions", body)).json()
    [call] = answer["choices"][0]["message"]["tool_calls"]
    Draft202012Validator(schema).validate(json.loads(call["function"]["arguments"]))
