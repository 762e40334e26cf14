"""Chat and completions of the real engine: official in every variant, and as asked."""

import json
from typing import Any

import jsonschema
import pytest

from conformance.schema import OfficialSchema
from conformance.wire import DONE, error_of, post, stream

pytestmark = [pytest.mark.engine, pytest.mark.requirement("answers:engine-shapes")]

BASE = "smollm2-135m-instruct"
PATH = "/v1/chat/completions"
CHAT: dict[str, Any] = {
    "model": BASE,
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
    "max_tokens": 24,
    "temperature": 0,
}
COMPLETION: dict[str, Any] = {
    "model": BASE,
    "prompt": "The capital of France is",
    "max_tokens": 6,
    "temperature": 0,
}
SCHEMA = {
    "type": "object",
    "properties": {"capital": {"type": "string", "maxLength": 20}, "known": {"type": "boolean"}},
    "required": ["capital", "known"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA, "strict": True}}


async def chat(url: str, schema: OfficialSchema, **more: Any) -> dict[str, Any]:
    response = await post(url, PATH, {**CHAT, **more})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    schema.check("CreateChatCompletionResponse", answer)
    assert answer["model"] == BASE
    return answer


async def chunks(url: str, schema: OfficialSchema, **more: Any) -> list[dict[str, Any]]:
    *found, done = await stream(url, PATH, {**CHAT, **more})
    assert done == DONE
    for chunk in found:
        schema.check("CreateChatCompletionStreamResponse", chunk)
        assert chunk["model"] == BASE
    return found


def text_of(found: list[dict[str, Any]]) -> str:
    deltas = [choice["delta"] for chunk in found for choice in chunk["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


async def test_a_stream_says_what_the_answer_says(
    engine_url: str, openai_schema: OfficialSchema
) -> None:
    answer = await chat(engine_url, openai_schema)
    found = await chunks(engine_url, openai_schema, stream_options={"include_usage": True})
    assert text_of(found) == answer["choices"][0]["message"]["content"]
    assert found[-1]["usage"] == answer["usage"]
    assert [chunk["usage"] for chunk in found[:-1]] == [None] * (len(found) - 1)


@pytest.mark.requirement("chat:n")
async def test_n_answers_come_back_whole_and_streamed(
    engine_url: str, openai_schema: OfficialSchema
) -> None:
    answer = await chat(engine_url, openai_schema, n=2, temperature=1)
    found = await chunks(engine_url, openai_schema, n=2, temperature=1)
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]
    assert {choice["index"] for chunk in found for choice in chunk["choices"]} == {0, 1}


@pytest.mark.requirement("chat:logprobs")
async def test_logprobs_come_with_every_token(
    engine_url: str, openai_schema: OfficialSchema
) -> None:
    asked = {"logprobs": True, "top_logprobs": 2, "max_tokens": 5}
    [choice] = (await chat(engine_url, openai_schema, **asked))["choices"]
    tokens = choice["logprobs"]["content"]
    assert len(tokens) == 5
    assert all(len(token["top_logprobs"]) == 2 for token in tokens)
    streamed = [
        token["token"]
        for chunk in await chunks(engine_url, openai_schema, **asked)
        for token in (chunk["choices"][0]["logprobs"] or {"content": []})["content"]
    ]
    assert streamed == [token["token"] for token in tokens]


@pytest.mark.requirement("chat:stop")
async def test_an_answer_ends_before_a_stop_string(
    engine_url: str, openai_schema: OfficialSchema
) -> None:
    whole = await chat(engine_url, openai_schema)
    word = whole["choices"][0]["message"]["content"].split()[2]
    [choice] = (await chat(engine_url, openai_schema, stop=[word]))["choices"]
    assert choice["finish_reason"] == "stop"
    assert word not in choice["message"]["content"]
    found = await chunks(engine_url, openai_schema, stop=word)
    assert text_of(found) == choice["message"]["content"]


@pytest.mark.requirement("chat:json-schema")
async def test_an_answer_holds_its_schema(engine_url: str, openai_schema: OfficialSchema) -> None:
    asked = {"response_format": FORMAT, "max_tokens": 80}
    [choice] = (await chat(engine_url, openai_schema, **asked))["choices"]
    assert choice["finish_reason"] == "stop"
    jsonschema.validate(json.loads(choice["message"]["content"]), SCHEMA)
    streamed = text_of(await chunks(engine_url, openai_schema, **asked))
    jsonschema.validate(json.loads(streamed), SCHEMA)


@pytest.mark.requirement("chat:json-object")
async def test_an_answer_in_json_object_begins_an_object(
    engine_url: str, openai_schema: OfficialSchema
) -> None:
    asked = {"response_format": {"type": "json_object"}, "max_tokens": 200}
    [choice] = (await chat(engine_url, openai_schema, **asked))["choices"]
    content = choice["message"]["content"]
    assert content.lstrip().startswith("{")
    if choice["finish_reason"] == "stop":
        assert isinstance(json.loads(content), dict)


@pytest.mark.requirement("requests:developer")
async def test_developer_and_system_say_the_same(
    engine_url: str, openai_schema: OfficialSchema
) -> None:
    said = []
    for role in ("developer", "system"):
        instruction = {"role": role, "content": "You always answer in one word."}
        messages = [instruction, *CHAT["messages"]]
        answer = await chat(engine_url, openai_schema, messages=messages)
        said.append(answer["choices"][0]["message"]["content"])
    assert said[0] == said[1]


@pytest.mark.requirement("completions:answer")
@pytest.mark.parametrize("more", [{}, {"logprobs": 2}, {"echo": True}, {"prompt": ["a", "b"]}])
async def test_a_completion_is_official(
    engine_url: str, openai_schema: OfficialSchema, more: dict[str, Any]
) -> None:
    response = await post(engine_url, "/v1/completions", {**COMPLETION, **more})
    openai_schema.check("CreateCompletionResponse", response.json())


@pytest.mark.requirement("completions:stream")
async def test_a_streamed_completion_adds_up(engine_url: str) -> None:
    whole = (await post(engine_url, "/v1/completions", COMPLETION)).json()
    *found, done = await stream(engine_url, "/v1/completions", COMPLETION)
    assert done == DONE
    text = "".join(chunk["choices"][0]["text"] for chunk in found)
    assert text == whole["choices"][0]["text"]


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("temperature", {"temperature": "hot"}),
    ("temperature", {"temperature": 3}),
    ("top_p", {"top_p": 1.5}),
    ("messages", {"messages": "hi"}),
    ("stream_options", {"stream_options": {"include_usage": True}}),
    ("tool_choice", {"tool_choice": "required"}),
    ("response_format.json_schema.schema", {"response_format": {"type": "json_schema"}}),
]


@pytest.mark.requirement("errors:wrong-type")
@pytest.mark.parametrize(("param", "more"), WRONG)
async def test_what_the_engine_refuses_is_400_with_its_field(
    engine_url: str, param: str, more: dict[str, Any]
) -> None:
    response = await post(engine_url, PATH, {**CHAT, **more})
    assert response.status_code == 400
    assert error_of(response)["param"] == param


@pytest.mark.requirement("errors:context-length")
@pytest.mark.parametrize(
    ("path", "prompt"),
    [
        (PATH, {"messages": [{"role": "user", "content": "word " * 20_000}]}),
        ("/v1/completions", {"prompt": "word " * 20_000}),
        ("/v1/responses", {"input": "word " * 20_000}),
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
async def test_a_prompt_that_does_not_fit_is_said_so(
    engine_url: str, path: str, prompt: dict[str, Any], streaming: bool
) -> None:
    response = await post(engine_url, path, {"model": BASE, **prompt, "stream": streaming})
    error = error_of(response)
    assert response.status_code == 400
    assert error["code"] == "context_length_exceeded"
    assert error["message"].startswith("This model's maximum context length is")
