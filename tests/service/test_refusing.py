"""The proxy that refuses once, through which the clients of others are run, does as it says."""

from pathlib import Path

import httpx
import pytest

from support.refusing import refusing
from support.serving import serve_echo

CHAT = {"model": "echo", "messages": [{"role": "user", "content": "one two three four"}]}


@pytest.mark.parametrize(("fault", "status"), [("limited", 429), ("cold", 503)])
async def test_the_first_request_is_told_when_to_come_back_and_the_second_is_served(
    tmp_path: Path, fault: str, status: int
) -> None:
    async with serve_echo(tmp_path) as served:
        with refusing(served.url) as proxy:
            async with httpx.AsyncClient(base_url=f"{proxy}/{fault}/story", timeout=30) as client:
                refused = await client.post("/v1/chat/completions", json=CHAT)
                answered = await client.post("/v1/chat/completions", json=CHAT)
    assert (refused.status_code, refused.headers["retry-after"]) == (status, "1")
    assert refused.json()["error"].keys() == {"message", "type", "param", "code"}
    assert answered.status_code == 200


@pytest.mark.parametrize(("path", "named"), [("/v1/messages", "error"), ("/v1/responses", "code")])
async def test_a_refusal_has_the_shape_of_its_endpoint(
    tmp_path: Path, path: str, named: str
) -> None:
    async with serve_echo(tmp_path) as served:
        with refusing(served.url) as proxy:
            async with httpx.AsyncClient(base_url=f"{proxy}/cold/story", timeout=30) as client:
                body = (await client.post(path, json={})).json()
    assert named in (body if path == "/v1/messages" else body["error"])


async def test_a_broken_stream_ends_with_an_error_and_without_done(tmp_path: Path) -> None:
    async with serve_echo(tmp_path) as served:
        with refusing(served.url) as proxy:
            async with httpx.AsyncClient(base_url=f"{proxy}/broken/story", timeout=30) as client:
                body = {**CHAT, "stream": True}
                text = (await client.post("/v1/chat/completions", json=body)).text
    *_, last = [line for line in text.splitlines() if line]
    assert last.startswith('data: {"error"')
    assert "[DONE]" not in text
