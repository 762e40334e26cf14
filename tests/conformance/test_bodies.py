"""What reaches the engine of what a client sent."""

from typing import Any

import pytest

from veneer_server.api.errors import InvalidRequest, UnsupportedParameter
from veneer_server.api.official.bodies import prepare
from veneer_server.api.official.bounds import (
    BOUNDS,
    MOST_ARGUMENTS,
    MOST_ITEMS,
    MOST_PARTS,
    MOST_SEQUENCES,
    MOST_TOKEN_IDS,
    MOST_TOKENIZED,
)
from veneer_server.api.official.members.tables import TABLES
from veneer_server.engine.base import Endpoint

CHAT, RESPONSES, MESSAGES = Endpoint.CHAT, Endpoint.RESPONSES, Endpoint.MESSAGES


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
    stored = {**body, "store": PLATFORM["store"]}  # the route takes it out
    assert prepare(RESPONSES, {**body, **PLATFORM}) == stored


@pytest.mark.requirement("requests:nulls")
@pytest.mark.parametrize("endpoint", TABLES)
def test_a_null_is_absent(endpoint: Endpoint) -> None:
    nulls = dict.fromkeys(("n", "stop", "tools", "cache_salt", "functions", "max_tokens", "nope"))
    assert prepare(endpoint, {"model": "m", **nulls}) == {"model": "m"}


@pytest.mark.requirement("requests:engine-fields")
@pytest.mark.parametrize(
    "name",
    ["cache_salt", "kv_transfer_params", "vllm_xargs", "request_id", "priority", "chat_template"],
)
@pytest.mark.parametrize("endpoint", TABLES)
def test_fields_that_steer_the_engine_are_refused(endpoint: Endpoint, name: str) -> None:
    with pytest.raises(UnsupportedParameter) as refused:
        prepare(endpoint, {"model": "m", name: "x"})
    assert refused.value.param == name


MISLEADING = [
    (CHAT, {"functions": [{"name": "f"}]}),
    (CHAT, {"modalities": ["text", "audio"]}),
    (CHAT, {"web_search_options": {}}),
    (Endpoint.COMPLETIONS, {"best_of": 3}),
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
    (RESPONSES, {"include": []}),
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
    ("structured_outputs", 5),
    ("stream", "false"),
    ("parallel_tool_calls", 1),
    ("temperature", 2.1),
    ("temperature", "0.5"),
    ("top_p", -0.1),
    ("top_p", 1.01),
    ("frequency_penalty", 3),
    ("presence_penalty", -2.5),
]


@pytest.mark.requirement("requests:bounds")
@pytest.mark.parametrize(("name", "value"), OUT_OF_BOUNDS)
def test_a_value_out_of_bounds_is_refused_with_its_name(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        prepare(home(name), {"model": "m", name: value})
    assert refused.value.param == name
    assert f"'{name}'" in str(refused.value)


@pytest.mark.requirement("requests:bounds")
def test_values_on_the_bounds_pass() -> None:
    body = {"n": 128, "max_tokens": 1, "temperature": 2, "top_p": 1.0, "frequency_penalty": -2}
    assert prepare(CHAT, body) == body


def sized(kind: str, size: int) -> Any:
    """Return a value that is ``size`` large in the way that ``kind`` says."""
    made: dict[str, Any] = {
        "text": "x" * size,
        "array": ["x"] * size,
        "ids": [7] * size,
        "item": ["x", "x" * size],
        "object": {str(key): "x" for key in range(size)},
        "value": {"key": "x" * size},
        "key": {"k" * size: "x"},
    }
    return made[kind]


def home(path: str) -> Endpoint:
    """Return an endpoint whose requests have the member at ``path``."""
    return next(e for e, table in TABLES.items() if path.partition(".")[0] in table)


def placed(path: str, value: Any) -> dict[str, Any]:
    """Return a body with ``value`` at ``path``."""
    for name in reversed(path.split(".")):
        value = {name: value}
    found: dict[str, Any] = value
    return found


SIZES = [
    ("model", "text", 512, "string too long", "model"),
    ("user", "text", 512, "string too long", "user"),
    ("safety_identifier", "text", 512, "string too long", "safety_identifier"),
    ("metadata", "object", 16, "too many properties", "metadata"),
    ("metadata", "value", 512, "string too long", "metadata[key]"),
    ("metadata", "key", 64, "string too long", "metadata"),
    ("messages", "array", 2048, "array too long", "messages"),
    ("input", "array", 2048, "array too long", "input"),
    ("tools", "array", 128, "array too long", "tools"),
    ("stop", "array", 64, "array too long", "stop"),
    ("stop", "text", 512, "string too long", "stop"),
    ("stop", "item", 512, "string too long", "stop[1]"),
    ("stop_sequences", "array", 64, "array too long", "stop_sequences"),
    ("stop_sequences", "item", 512, "string too long", "stop_sequences[1]"),
    ("stop_token_ids", "ids", 128, "array too long", "stop_token_ids"),
    ("bad_words", "array", 128, "array too long", "bad_words"),
    ("bad_words", "item", 256, "string too long", "bad_words[1]"),
    ("logit_bias", "object", 1024, "too many properties", "logit_bias"),
    ("logit_bias", "key", 20, "string too long", "logit_bias"),
    ("allowed_token_ids", "ids", 65536, "array too long", "allowed_token_ids"),
    ("tokens", "ids", 131072, "array too long", "tokens"),
    ("documents", "array", 1024, "array too long", "documents"),
    ("chat_template_kwargs", "object", 64, "too many properties", "chat_template_kwargs"),
    ("include", "array", MOST_ITEMS, "array too long", "include"),
    ("structured_outputs.choice", "array", 1024, "array too long", "structured_outputs.choice"),
    ("structured_outputs.choice", "item", 1024, "too long", "structured_outputs.choice[1]"),
]


@pytest.mark.requirement("requests:bounds")
@pytest.mark.parametrize(("path", "kind", "most", "fault", "param"), SIZES)
def test_a_field_may_be_as_large_as_its_bound_and_no_larger(
    path: str, kind: str, most: int, fault: str, param: str
) -> None:
    endpoint = home(path)
    prepare(endpoint, placed(path, sized(kind, most)))
    with pytest.raises(InvalidRequest) as refused:
        prepare(endpoint, placed(path, sized(kind, most + 1)))
    assert refused.value.param == param
    assert str(refused.value).startswith(f"Invalid '{param}': ")
    for said in (fault, str(most), str(most + 1)):
        assert said in str(refused.value)


@pytest.mark.requirement("requests:bounds")
def test_every_bound_is_tried() -> None:
    tried = {(path, kind) for path, kind, *_ in SIZES}
    for path, bound in BOUNDS.items():
        assert (
            bound.items is None or {(path, kind) for kind in ("array", "ids", "object")} & tried
        ), path
        assert bound.length is None or {(path, "text"), (path, "item"), (path, "value")} & tried
        assert bound.key_length is None or (path, "key") in tried, path


SEVERAL = [
    (["x"] * MOST_SEQUENCES, 1, True),
    (["x"] * (MOST_SEQUENCES + 1), 1, False),
    (["x"] * (MOST_SEQUENCES // 2), 2, True),
    (["x"] * (MOST_SEQUENCES // 2 + 1), 2, False),
    ([[1, 2]] * MOST_SEQUENCES, 1, True),
    ([[1, 2]] * (MOST_SEQUENCES + 1), 1, False),
    ([1] * MOST_TOKEN_IDS, MOST_SEQUENCES, True),
    ([1] * (MOST_TOKEN_IDS + 1), 1, False),
    ("x" * 100_000, MOST_SEQUENCES, True),
    ([], 1, True),
]


@pytest.mark.requirement("requests:bounds")
@pytest.mark.parametrize(("prompt", "n", "passes"), SEVERAL)
def test_a_request_may_ask_for_128_answers_and_read_half_a_million_tokens(
    prompt: Any, n: int, *, passes: bool
) -> None:
    body = {"prompt": prompt, "n": n}
    if passes:
        assert prepare(Endpoint.COMPLETIONS, body) == body
        return
    with pytest.raises(InvalidRequest, match="'prompt': array too long") as refused:
        prepare(Endpoint.COMPLETIONS, body)
    assert refused.value.param == "prompt"


PART = {"type": "text", "text": "x"}


CALL = {"id": "c", "type": "function", "function": {"name": "f"}}


def called(*arguments: int) -> dict[str, Any]:
    """Return a message with a call for each of ``arguments``, which are so long."""
    calls = [{**CALL, "function": {"name": "f", "arguments": "x" * size}} for size in arguments]
    return {"role": "assistant", "tool_calls": calls}


HALF = MOST_PARTS // 2


INSIDE = [
    ([{"role": "user", "content": [PART] * MOST_PARTS}], "too many parts"),
    ([{"role": "user", "content": [PART] * HALF}] * 2, "too many parts"),
    ([{"role": "user", "content": [{"content": [PART] * (MOST_PARTS - 1)}]}], "too many parts"),
    ([{"role": "assistant", "tool_calls": [CALL] * MOST_PARTS}], "too many parts"),
    ([called(MOST_ARGUMENTS)], "arguments of tool calls too long"),
    ([called(MOST_ARGUMENTS // 2), called(0, MOST_ARGUMENTS // 2)], "of tool calls too long"),
]


@pytest.mark.requirement("requests:bounds")
@pytest.mark.parametrize(("messages", "fault"), INSIDE)
@pytest.mark.parametrize("name", ["messages", "input"])
def test_what_all_messages_hold_together_is_bounded(
    name: str, messages: list[Any], fault: str
) -> None:
    endpoint = RESPONSES if name == "input" else CHAT
    prepare(endpoint, {name: messages})
    more = called(1) if "arguments" in fault or "calls" in fault else {"content": [PART]}
    with pytest.raises(InvalidRequest, match=fault) as refused:
        prepare(endpoint, {name: [*messages, more]})
    assert refused.value.param == name


@pytest.mark.requirement("requests:bounds")
@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("prompt[1]", {"prompt": [1, "a"]}),
        ("prompt[0]", {"prompt": [None]}),
        ("prompt[1][2]", {"prompt": [[1], [1, 2, True]]}),
        ("prompt[0][0]", {"prompt": [["a"]]}),
        ("tokens[0]", {"tokens": ["a"] * 1000}),
        ("allowed_token_ids[1]", {"allowed_token_ids": [1, 1.5]}),
        ("stop_token_ids[0]", {"stop_token_ids": [[]]}),
    ],
)
def test_a_list_of_token_ids_holds_nothing_else(path: str, value: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="expected an integer") as refused:
        prepare(home(next(iter(value))), value)
    assert refused.value.param == path


@pytest.mark.requirement("requests:bounds")
@pytest.mark.parametrize("wrong", [-1, 2**31, 2**32, 2**64])
@pytest.mark.parametrize("name", ["prompt", "tokens", "stop_token_ids"])
def test_a_number_that_no_token_has_is_named(name: str, wrong: int) -> None:
    prepare(home(name), {name: [0, 2**31 - 1]})
    with pytest.raises(InvalidRequest, match="no token id") as refused:
        prepare(home(name), {name: [1, wrong]})
    assert refused.value.param == f"{name}[1]"


@pytest.mark.requirement("requests:bounds")
@pytest.mark.parametrize("name", ["prompt", "messages"])
def test_a_text_of_which_only_the_tokens_are_wanted_is_bounded(name: str) -> None:
    def body(size: int) -> dict[str, Any]:
        text = "x" * size
        return {name: [{"content": text}] if name == "messages" else text}

    prepare(Endpoint.TOKENIZE, body(MOST_TOKENIZED))
    prepare(MESSAGES if name == "messages" else home(name), body(MOST_TOKENIZED + 1))
    with pytest.raises(InvalidRequest, match=str(MOST_TOKENIZED + 1)) as refused:
        prepare(Endpoint.TOKENIZE, body(MOST_TOKENIZED + 1))
    assert refused.value.param == name


@pytest.mark.requirement("requests:bounds")
@pytest.mark.parametrize("path", BOUNDS)
@pytest.mark.parametrize("value", [1, True, 1.5, "", [], {}])
def test_a_field_of_another_type_is_left_to_the_engine(path: str, value: Any) -> None:
    prepare(home(path), placed(path, value))
