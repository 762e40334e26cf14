"""What reaches the engine of what a client sent."""

from typing import Any

import pytest

from veneer_server.api.errors import InvalidRequest, UnsupportedParameter
from veneer_server.api.official.bodies import prepare
from veneer_server.engine.base import Endpoint

CHAT, RESPONSES, MESSAGES = Endpoint.CHAT, Endpoint.RESPONSES, Endpoint.MESSAGES
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
NAMED = {"type": "function", "function": {"name": "weather"}}
NOTHING = {"type": "object", "properties": {}, "enum": [{}]}


def chat_tool(**more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "weather", "parameters": SCHEMA, **more}}


PLATFORM = {
    "store": True,
    "safety_identifier": "s",
    "prompt_cache_key": "k",
    "service_tier": "fast",
    "verbosity": "low",
    "prediction": {"type": "content", "content": "x"},
}


@pytest.mark.requirement("requests:platform-fields")
def test_fields_of_openais_platform_do_not_reach_the_engine() -> None:
    body = {"model": "m", "messages": [], **PLATFORM, "metadata": {"a": "b"}, "user": "u"}
    assert prepare(CHAT, body) == {"model": "m", "messages": []}


@pytest.mark.requirement("requests:platform-fields")
def test_a_responses_handler_sees_the_metadata_it_must_repeat() -> None:
    body = {"model": "m", "input": "x", "metadata": {"a": "b"}, "user": "u", "include": []}
    assert prepare(RESPONSES, {**body, **PLATFORM}) == body


@pytest.mark.requirement("requests:nulls")
@pytest.mark.parametrize("endpoint", Endpoint)
def test_a_null_is_absent(endpoint: Endpoint) -> None:
    nulls = dict.fromkeys(("n", "stop", "tools", "cache_salt", "functions", "max_tokens", "seed"))
    assert prepare(endpoint, {"model": "m", **nulls}) == {"model": "m"}


@pytest.mark.requirement("requests:engine-fields")
@pytest.mark.parametrize(
    "name",
    ["cache_salt", "kv_transfer_params", "vllm_xargs", "request_id", "priority", "chat_template"],
)
@pytest.mark.parametrize("endpoint", Endpoint)
def test_fields_that_steer_the_engine_are_refused(endpoint: Endpoint, name: str) -> None:
    with pytest.raises(UnsupportedParameter) as refused:
        prepare(endpoint, {"model": "m", name: "x"})
    assert refused.value.param == name


MISLEADING = [
    (CHAT, {"functions": [{"name": "f"}]}),
    (CHAT, {"modalities": ["text", "audio"]}),
    (CHAT, {"web_search_options": {}}),
    (Endpoint.COMPLETIONS, {"best_of": 3}),
    (RESPONSES, {"previous_response_id": "resp_1"}),
    (RESPONSES, {"conversation": "conv_1"}),
    (RESPONSES, {"background": True}),
    (MESSAGES, {"mcp_servers": [{"url": "x"}]}),
]


@pytest.mark.requirement("requests:no-silent-loss")
@pytest.mark.parametrize(("endpoint", "fields"), MISLEADING)
def test_a_field_without_effect_is_refused(endpoint: Endpoint, fields: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedParameter) as refused:
        prepare(endpoint, {"model": "m", **fields})
    assert [refused.value.param] == list(fields)


HARMLESS = [
    (CHAT, {"modalities": ["text"], "function_call": "none", "n": 1, "stream": False}),
    (Endpoint.COMPLETIONS, {"best_of": 1, "prompt": "x", "max_tokens": 0, "echo": True}),
    (Endpoint.COMPLETIONS, {"best_of": 2, "n": 2}),
    (RESPONSES, {"background": False, "include": []}),
]


@pytest.mark.requirement("requests:no-silent-loss")
@pytest.mark.parametrize(("endpoint", "fields"), HARMLESS)
def test_a_field_that_asks_for_nothing_passes(endpoint: Endpoint, fields: dict[str, Any]) -> None:
    assert prepare(endpoint, fields) == fields


OUT_OF_BOUNDS = [
    ("n", 0),
    ("n", 129),
    ("n", "2"),
    ("n", True),
    ("max_tokens", 0),
    ("max_completion_tokens", -1),
    ("max_output_tokens", 1.5),
    ("stop", list("abcde")),
]


@pytest.mark.requirement("requests:bounds")
@pytest.mark.parametrize(("name", "value"), OUT_OF_BOUNDS)
def test_a_value_out_of_bounds_is_refused_with_its_name(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        prepare(CHAT, {"model": "m", name: value})
    assert refused.value.param == name
    assert f"'{name}'" in str(refused.value)


@pytest.mark.requirement("requests:bounds")
def test_values_on_the_bounds_pass() -> None:
    body = {"n": 128, "max_tokens": 1, "stop": list("abcd")}
    assert prepare(CHAT, body) == body


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
