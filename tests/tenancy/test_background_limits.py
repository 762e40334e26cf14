"""A response in the background keeps to the limits of its key from its creation to its end."""

import asyncio
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.test_state import Waiting, ended
from support.serving import Served, serve_echo
from tenancy.conftest import OPERATOR

PATH = "/v1/responses"


def body(**more: Any) -> dict[str, Any]:
    return {"model": "echo", "input": "one two", "background": True, **more}


def running(served: Served) -> list[str]:
    assert served.parts is not None
    return served.parts.server.kept.runs.running()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_key_at_its_limit_creates_no_response_in_the_background(
    tmp_path: Path, stream: bool
) -> None:
    engine, asked = Waiting(), {"max_output_tokens": 16, "stream": stream}
    sent = {"authorization": f"Bearer {OPERATOR}"}
    async with (
        serve_echo(tmp_path, engine, server={"api_key": OPERATOR}) as served,
        httpx.AsyncClient(base_url=served.url, headers=sent, timeout=30) as client,
    ):
        key = (await client.post("/v1/keys", json={"rpm": 1, "tpm": 100})).json()["key"]
        client.headers["authorization"] = f"Bearer {key}"
        never = await client.post(PATH, json=body(max_output_tokens=101))
        assert (never.status_code, never.json()["error"]["code"]) == (429, "insufficient_quota")
        engine.go.set()
        begun = await client.post(PATH, json=body(**asked))
        assert begun.status_code == 200
        assert begun.headers["x-ratelimit-remaining-requests"] == "0"
        assert int(begun.headers["x-ratelimit-remaining-tokens"]) == 100 - 16 - 2
        refused = await client.post(PATH, json=body(**asked))
        assert (refused.status_code, refused.json()["error"]["code"]) == (
            429,
            "rate_limit_exceeded",
        )
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert refused.headers["x-ratelimit-limit-requests"] == "1"
        assert len(engine.asked) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_what_a_response_in_the_background_did_not_use_is_given_back_at_its_end(
    tmp_path: Path, stream: bool
) -> None:
    engine, limits = Waiting(), {"server_tpm": 1000, "server_rpm": 10}
    engine.go.set()
    async with (
        serve_echo(tmp_path, engine, tenants=limits) as served,
        httpx.AsyncClient(base_url=served.url, timeout=30) as client,
    ):
        begun = await client.post(PATH, json=body(max_output_tokens=900, stream=stream))
        [id_] = set(re.findall(r"resp_\w+", begun.text))
        assert (await ended(client, id_))["status"] == "completed"
        found = await client.post(PATH, json=body(max_output_tokens=900))
        assert found.status_code == 200
        assert found.headers["x-ratelimit-remaining-requests"] == "8"


@pytest.mark.parametrize("end", ["completed", "cancelled"])
async def test_it_holds_its_place_among_those_at_the_same_time_until_it_ends(
    tmp_path: Path, end: str
) -> None:
    engine, one = Waiting(), {"server_concurrency": 1}
    async with (
        serve_echo(tmp_path, engine, tenants=one) as served,
        httpx.AsyncClient(base_url=served.url, timeout=30) as client,
    ):
        begun = (await client.post(PATH, json=body())).json()["id"]
        await engine.begun.wait()
        assert (await client.post(PATH, json=body())).status_code == 429
        assert running(served) == [begun]
        if end == "cancelled":
            await client.post(f"{PATH}/{begun}/cancel")
        engine.go.set()
        assert (await ended(client, begun))["status"] == end
        assert (await client.post(PATH, json=body())).status_code == 200


async def test_a_response_that_cannot_begin_holds_nothing(tmp_path: Path) -> None:
    engine, limits = Waiting(), {"server_concurrency": 2}
    async with (
        serve_echo(tmp_path, engine, tenants=limits, conversations={"max_background": 1}) as served,
        httpx.AsyncClient(base_url=served.url, timeout=30) as client,
    ):
        assert (await client.post(PATH, json=body())).status_code == 200
        for _ in range(3):
            assert (await client.post(PATH, json=body())).status_code == 503
        engine.go.set()
        async with asyncio.timeout(10):
            while running(served):
                await asyncio.sleep(0.01)
