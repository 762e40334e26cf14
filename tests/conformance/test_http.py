"""Answers over HTTP, on the echo engine."""

from typing import Any

import httpx
import pytest

from conformance.schema import OfficialSchema
from conformance.wire import DONE, error_of, post, stream
from support import builders
from support.serving import Served, until_served

CHAT: dict[str, Any] = {"model": "echo", "messages": [{"role": "user", "content": "one two three"}]}
COMPLETION: dict[str, Any] = {"model": "echo", "prompt": "one two three"}


@pytest.mark.requirement("chat:answer")
async def test_a_chat_completion_is_official(echo: Served, openai_schema: OfficialSchema) -> None:
    answer = (await post(echo.url, "/v1/chat/completions", CHAT)).json()
    openai_schema.check("CreateChatCompletionResponse", answer)
    [choice] = answer["choices"]
    rest = {"refusal": None, "annotations": []}
    assert choice["message"] == {"role": "assistant", "content": "one two three", **rest}
    assert choice["logprobs"] is None
    assert answer["usage"] == {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}


@pytest.mark.requirement("chat:n")
async def test_n_answers_are_indexed(echo: Served, openai_schema: OfficialSchema) -> None:
    answer = (await post(echo.url, "/v1/chat/completions", {**CHAT, "n": 3})).json()
    openai_schema.check("CreateChatCompletionResponse", answer)
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]


@pytest.mark.requirement("chat:stream")
@pytest.mark.requirement("chat:stream:no-usage")
async def test_a_chat_stream_adds_up(echo: Served, openai_schema: OfficialSchema) -> None:
    *chunks, done = await stream(echo.url, "/v1/chat/completions", CHAT)
    assert done == DONE
    for chunk in chunks:
        openai_schema.check("CreateChatCompletionStreamResponse", chunk)
        assert "usage" not in chunk
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert text == "one two three"
    assert len({chunk["id"] for chunk in chunks}) == 1


@pytest.mark.requirement("chat:stream:usage")
async def test_usage_comes_last_and_alone(echo: Served, openai_schema: OfficialSchema) -> None:
    body = {**CHAT, "stream_options": {"include_usage": True}}
    *chunks, last, done = await stream(echo.url, "/v1/chat/completions", body)
    assert done == DONE
    for chunk in (*chunks, last):
        openai_schema.check("CreateChatCompletionStreamResponse", chunk)
    assert [chunk["usage"] for chunk in chunks] == [None] * len(chunks)
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 6


@pytest.mark.requirement("completions:answer")
async def test_a_completion_is_official(echo: Served, openai_schema: OfficialSchema) -> None:
    answer = (await post(echo.url, "/v1/completions", COMPLETION)).json()
    openai_schema.check("CreateCompletionResponse", answer)
    assert answer["choices"][0]["text"] == "one two three"


@pytest.mark.requirement("requests:platform-fields")
@pytest.mark.requirement("requests:nulls")
@pytest.mark.requirement("requests:developer")
async def test_a_request_with_everything_harmless_is_answered(echo: Served) -> None:
    polite = {
        "messages": [{"role": "developer", "content": "Echo."}, *CHAT["messages"]],
        "store": False,
        "metadata": {"team": "a"},
        "user": "u",
        "safety_identifier": "s",
        "prompt_cache_key": "k",
        "service_tier": "auto",
        "verbosity": "low",
        "n": 1,
        "stream": False,
        "tools": [],
        "response_format": None,
        "logit_bias": None,
        "max_tokens": None,
        "max_completion_tokens": 50,
    }
    response = await post(echo.url, "/v1/chat/completions", {**CHAT, **polite})
    assert response.status_code == 200, response.text


@pytest.mark.requirement("requests:engine-fields")
async def test_an_engine_field_is_400_with_its_name(echo: Served) -> None:
    response = await post(echo.url, "/v1/chat/completions", {**CHAT, "cache_salt": "x"})
    assert response.status_code == 400
    assert error_of(response)["param"] == "cache_salt"


@pytest.mark.requirement("models:list")
async def test_the_list_of_models_is_official(echo: Served, openai_schema: OfficialSchema) -> None:
    async with httpx.AsyncClient(base_url=echo.url) as client:
        answer = (await client.get("/v1/models")).json()
    openai_schema.check("ListModelsResponse", answer)
    assert [model["id"] for model in answer["data"]] == ["echo"]


@pytest.mark.requirement("models:delete")
async def test_deleting_a_model_is_official(echo: Served, openai_schema: OfficialSchema) -> None:
    builders.write(echo.adapters / "mine")
    await until_served(echo, "mine")
    async with httpx.AsyncClient(base_url=echo.url) as client:
        answer = (await client.delete("/v1/models/mine")).json()
        again = await client.delete("/v1/models/mine")
    openai_schema.check("DeleteModelResponse", answer)
    assert answer == {"id": "mine", "object": "model", "deleted": True}
    assert (again.status_code, error_of(again)["code"]) == (404, "model_not_found")


@pytest.mark.requirement("models:retrieve")
@pytest.mark.requirement("models:unknown")
async def test_a_model_is_found_or_named_missing(
    echo: Served, openai_schema: OfficialSchema
) -> None:
    async with httpx.AsyncClient(base_url=echo.url) as client:
        found = await client.get("/v1/models/echo")
        missing = await client.get("/v1/models/nobody%2Fnothing")
    openai_schema.check("Model", found.json())
    assert missing.status_code == 404
    assert error_of(missing)["code"] == "model_not_found"
