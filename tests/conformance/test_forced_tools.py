"""Tools that a request insists on, and those that it leaves free."""

from typing import Any

import pytest

from conformance.test_bodies import CHAT, MESSAGES, RESPONSES
from veneer_server.api.errors import UnsupportedParameter
from veneer_server.api.official.bodies import prepare
from veneer_server.engine.base import Endpoint

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


NAMED = {"type": "function", "function": {"name": "weather"}}


NOTHING = {"type": "object", "properties": {}, "enum": [{}]}


def chat_tool(**more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "weather", "parameters": SCHEMA, **more}}


FORCED = [
    (CHAT, [chat_tool()], "required", [chat_tool(strict=True)]),
    (CHAT, [chat_tool(strict=False)], NAMED, [chat_tool(strict=True)]),
    (
        RESPONSES,
        [{"type": "function", "name": "w", "parameters": SCHEMA}],
        {"type": "function", "name": "w"},
        [{"type": "function", "name": "w", "parameters": SCHEMA, "strict": True}],
    ),
    (
        MESSAGES,
        [{"name": "w", "input_schema": SCHEMA}],
        {"type": "any"},
        [{"name": "w", "input_schema": SCHEMA, "strict": True}],
    ),
    (
        MESSAGES,
        [{"name": "w", "input_schema": SCHEMA}],
        {"type": "tool", "name": "w"},
        [{"name": "w", "input_schema": SCHEMA, "strict": True}],
    ),
]


@pytest.mark.requirement("tools:forced")
@pytest.mark.parametrize(("endpoint", "tools", "choice", "expected"), FORCED)
def test_a_forced_call_is_made_strict(
    endpoint: Endpoint, tools: list[Any], choice: Any, expected: list[Any]
) -> None:
    body = prepare(endpoint, {"tools": tools, "tool_choice": choice})
    assert body == {"tools": expected, "tool_choice": choice}


@pytest.mark.requirement("tools:free-calls-untouched")
@pytest.mark.parametrize(
    ("endpoint", "choice"),
    [(CHAT, "auto"), (CHAT, "none"), (RESPONSES, "auto"), (MESSAGES, {"type": "auto"})],
)
def test_a_free_call_keeps_its_strictness(endpoint: Endpoint, choice: Any) -> None:
    body = {"tools": [chat_tool()], "tool_choice": choice}
    assert prepare(endpoint, body) == body


@pytest.mark.requirement("tools:no-arguments")
@pytest.mark.parametrize(
    "parameters",
    [
        None,
        {},
        {"type": "object", "properties": {}},
        {"type": "object", "properties": {}, "required": [], "additionalProperties": False},
    ],
)
def test_a_forced_call_without_parameters_can_only_be_empty(parameters: Any) -> None:
    tools = [chat_tool(parameters=parameters)]
    body = prepare(CHAT, {"tools": tools, "tool_choice": "required"})
    assert body["tools"] == [chat_tool(parameters=NOTHING, strict=True)]


@pytest.mark.requirement("tools:no-arguments")
def test_a_function_that_takes_any_object_may_still_take_any() -> None:
    free = {"type": "object", "properties": {}, "additionalProperties": {"type": "string"}}
    body = prepare(CHAT, {"tools": [chat_tool(parameters=free)], "tool_choice": "required"})
    assert body["tools"] == [chat_tool(parameters=free, strict=True)]


@pytest.mark.requirement("tools:empty-list")
def test_an_empty_list_of_tools_is_none() -> None:
    body = {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True}
    assert prepare(CHAT, body) == {}


@pytest.mark.requirement("tools:empty-list")
def test_insisting_on_a_call_of_no_tool_stays_for_the_engine_to_refuse() -> None:
    assert prepare(CHAT, {"tools": [], "tool_choice": "required"}) == {"tool_choice": "required"}


@pytest.mark.requirement("tools:hosted")
def test_a_hosted_tool_is_refused() -> None:
    with pytest.raises(UnsupportedParameter) as refused:
        prepare(RESPONSES, {"tools": [{"type": "web_search"}]})
    assert refused.value.param == "tools[0].type"
