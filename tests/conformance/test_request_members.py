"""Members of answers that clients count on, one by one."""

import json
from typing import Any

import httpx
import pytest

from support.serving import Served

ASKED = {"model": "echo", "messages": [{"role": "user", "content": "one two three"}]}


async def post(served: Served, path: str, body: dict[str, Any]) -> httpx.Response:
    async with httpx.AsyncClient(base_url=served.url) as client:
        return await client.post(path, json=body)


async def answer_of(served: Served, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = (await post(served, "/v1/chat/completions", {**ASKED, **more})).json()
    return found


async def data_of(served: Served, **more: Any) -> list[str]:
    body = {**ASKED, "stream": True, **more}
    text = (await post(served, "/v1/chat/completions", body)).text
    return [line.removeprefix("data: ") for line in text.splitlines() if line]


@pytest.mark.requirement("chat:id")
async def test_the_id_of_a_chat_completion_says_what_it_is(echo: Served) -> None:
    first, second = await answer_of(echo), await answer_of(echo)
    assert first["id"].startswith("chatcmpl-")
    assert first["id"] != second["id"]


@pytest.mark.requirement("completions:id")
async def test_the_id_of_a_completion_says_what_it_is(echo: Served) -> None:
    found = await post(echo, "/v1/completions", {"model": "echo", "prompt": "one"})
    assert found.json()["id"].startswith("cmpl-")


@pytest.mark.requirement("chat:usage:sum")
async def test_the_total_of_the_usage_is_its_sum(echo: Served) -> None:
    usage = (await answer_of(echo))["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] == 6


@pytest.mark.requirement("chat:finish:stop")
@pytest.mark.requirement("chat:finish:length")
@pytest.mark.parametrize(("more", "reason"), [({}, "stop"), ({"max_tokens": 1}, "length")])
async def test_the_finish_reason_says_why_it_ended(
    echo: Served, more: dict[str, Any], reason: str
) -> None:
    assert (await answer_of(echo, **more))["choices"][0]["finish_reason"] == reason


@pytest.mark.requirement("chat:stream:done")
async def test_the_last_event_is_done_and_the_only_one(echo: Served) -> None:
    found = await data_of(echo)
    assert found[-1] == "[DONE]"
    assert found.count("[DONE]") == 1


@pytest.mark.requirement("chat:stream:role")
@pytest.mark.requirement("chat:stream:finish")
@pytest.mark.requirement("chat:stream:one-id")
async def test_chunks_belong_together_begin_with_the_role_and_end_with_the_reason(
    echo: Served,
) -> None:
    chunks = [json.loads(data) for data in (await data_of(echo))[:-1]]
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons == [None] * (len(reasons) - 1) + ["stop"]
