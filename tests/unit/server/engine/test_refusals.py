"""Whose fault an error of vLLM's is, and what the client learns of it."""

from types import SimpleNamespace
from typing import Any, Literal

import pytest
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from support.asked import need
from veneer_server.engine.base import (
    ContextLengthExceeded,
    EngineError,
    EngineLost,
    EngineUnavailable,
    RequestRejected,
    SchemaTooComplex,
    UnsupportedSchema,
)

pytestmark = pytest.mark.engine

refusals = need("veneer_server.engine.vllm.refusals")
vllm_errors = need("vllm.exceptions")
engine_errors = need("vllm.v1.engine.exceptions")

BODY: dict[str, Any] = {"prompt": "x", "seed": 1, "response_format": {"type": "json_schema"}}


def told(error: Exception, body: dict[str, Any] = BODY, params: Any = None) -> Any:
    return refusals.to_engine_error(error, body, params=params, max_model_len=100)


def constrained(schema: dict[str, Any] | None) -> Any:
    from vllm.sampling_params import SamplingParams, StructuredOutputsParams

    structured = StructuredOutputsParams(json=schema) if schema else None
    return SamplingParams(structured_outputs=structured)


def test_the_cause_of_an_error_decides_not_its_wrapping() -> None:
    wrapped = engine_errors.EngineGenerateError()
    wrapped.__cause__ = ValueError("seed must be small")
    assert type(told(wrapped)) is RequestRejected
    assert (str(told(wrapped)), told(wrapped).param) == ("seed must be small", "seed")
    assert type(told(engine_errors.EngineGenerateError())) is EngineError


def test_a_field_is_named_and_its_value_is_not_repeated() -> None:
    error = vllm_errors.VLLMValidationError("too large", parameter="seed", value="9" * 5000)
    assert (str(told(error)), told(error).param) == ("too large", "seed")


def test_a_prompt_that_is_too_long_is_named_as_the_client_wrote_it() -> None:
    error = vllm_errors.VLLMValidationError("too long", parameter="input_tokens", value=150)
    found = told(error)
    assert isinstance(found, ContextLengthExceeded)
    assert found.param == "prompt"
    assert "resulted in 150 tokens" in str(found)


@pytest.mark.parametrize(("parameter", "value"), [("input_tokens", 101), ("input_text", 5000)])
def test_where_nobody_counted_all_tokens_the_message_says_at_least(
    parameter: str, value: int
) -> None:
    error = vllm_errors.VLLMValidationError("too long", parameter=parameter, value=value)
    assert "resulted in at least 101 tokens. " in str(told(error))


def test_an_error_names_no_flag_of_vllms() -> None:
    error = vllm_errors.VLLMValidationError("Too many. Set --max-n to 5.", parameter="seed")
    assert str(told(error)) == "Too many."


def test_too_many_tokens_are_refused_before_vllm_looks_at_each() -> None:
    with pytest.raises(ContextLengthExceeded, match="101 tokens") as refused:
        refusals.refuse_too_many_tokens({"prompt": [1] * 101}, 100)
    assert refused.value.param == "prompt"


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": [1] * 100},
        {"prompt": [1] * 101, "truncate_prompt_tokens": 50},
        {"prompt": "x" * 101},
        {"prompt": ["x"] * 101},
        {"messages": []},
    ],
    ids=["they fit", "to be truncated", "a text", "texts", "no prompt"],
)
def test_any_other_prompt_is_left_to_vllm(body: dict[str, Any]) -> None:
    refusals.refuse_too_many_tokens(body, 100)


def test_the_engines_own_faults_stay_its_own() -> None:
    assert type(told(KeyError("x"))) is EngineError
    assert type(told(vllm_errors.GenerationError())) is EngineError
    assert type(told(vllm_errors.GenerationError(), params=SimpleNamespace())) is EngineError
    assert type(told(engine_errors.EngineDeadError())) is EngineLost
    assert type(told(vllm_errors.QueueOverflowError())) is EngineUnavailable
    assert type(told(EngineLost("x"))) is EngineLost


def test_a_schema_that_the_engine_gave_up_is_too_complex() -> None:
    found = told(vllm_errors.GenerationError(), params=constrained({"type": "array"}))
    assert type(found) is SchemaTooComplex
    assert found.param == "response_format"
    assert type(told(vllm_errors.GenerationError(), params=constrained(None))) is EngineError


def test_an_error_about_a_schema_names_the_field_with_the_schema() -> None:
    assert told(UnsupportedSchema("no")).param == "response_format"
    assert told(UnsupportedSchema("no", param="tools")).param == "tools"


class Part(TypedDict):
    kind: str


class Message(TypedDict):
    content: str | list[Part]


class Body(TypedDict):
    messages: list[Message]


class Said(TypedDict):
    type: Literal["message"]
    role: Literal["user"]
    content: str


class Called(TypedDict):
    type: Literal["call"]
    name: str
    arguments: str


class Items(TypedDict):
    input: str | list[Said | Called]


@pytest.mark.parametrize(
    ("item", "param"),
    [
        ({"type": "call", "name": "f"}, "input[0].arguments"),
        ({"type": "message", "role": "user"}, "input[0].content"),
        ({"type": "message", "role": "user", "content": 5}, "input[0].content"),
        ({"type": "nonsense"}, "input[0].type"),
        ({}, "input[0].type"),
    ],
)
def test_of_several_kinds_the_one_that_was_meant_tells_the_fault(
    item: dict[str, Any], param: str
) -> None:
    body = {"input": [item]}
    with pytest.raises(ValidationError) as raised:
        TypeAdapter(Items).validate_python(body)
    found = told(raised.value, body)
    assert found.param == param
    assert "Input should be 'message'" not in str(found)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "messages"),
        ({"messages": 5}, "messages"),
        ({"messages": [{"content": None}]}, "messages[0].content"),
        ({"messages": [{"content": [{"kind": 5}]}]}, "messages[0].content[0].kind"),
        ({"messages": [{}]}, "messages[0].content"),
    ],
)
def test_a_value_that_fits_no_type_is_named_by_its_place_in_the_body(
    body: dict[str, Any], param: str
) -> None:
    with pytest.raises(ValidationError) as raised:
        TypeAdapter(Body).validate_python(body)
    found = told(raised.value, body)
    assert type(found) is RequestRejected
    assert found.param == param
    assert param in str(found)


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        ({}, "prompt", "Field required"),
        ({"add_special_tokens": True}, "prompt", "Field required"),
        ({"prompt": 7}, "prompt", "string"),
        ({"messages": 7}, "messages", "list"),
    ],
)
def test_a_body_that_is_of_no_kind_is_told_the_member_that_it_lacks(
    body: dict[str, Any], param: str, said: str
) -> None:
    tokenize = need("vllm.entrypoints.serve.tokenize.protocol").TokenizeRequest
    with pytest.raises(ValidationError) as error:
        TypeAdapter(tokenize).validate_python({"model": "tiny", **body})
    found = told(error.value, {"model": "tiny", **body})
    assert (type(found), found.param) == (RequestRejected, param)
    assert said in str(found)
