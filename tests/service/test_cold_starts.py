"""What a client may choose for the case that its adapter is in no slot: wait, refuse, fall back."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from support import builders
from support.serving import POLL_S, Served, serve_echo, until_served
from veneer_server.engine.base import Answer, Call, Frames
from veneer_server.engine.echo import EchoEngine

SLOTS = {"device_slots": 1, "host_slots": 3}


class HeldEngine(EchoEngine):
    """Answers for one adapter only when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.holding = asyncio.Event()

    async def respond(self, call: Call) -> Answer | Frames:
        if str(call.body["model"]).startswith("busy@"):
            self.holding.set()
            await self.gate.wait()
        return await super().respond(call)


@asynccontextmanager
async def one_slot(
    folder: Path, engine: EchoEngine | None = None, **adapters: Any
) -> AsyncIterator[tuple[Served, httpx.AsyncClient]]:
    async with (
        asyncio.timeout(60),
        serve_echo(folder, engine or EchoEngine(), adapters={**SLOTS, **adapters}) as served,
        httpx.AsyncClient(base_url=served.url, timeout=30) as client,
    ):
        for number, name in enumerate(("busy", "mine")):
            builders.write(served.adapters / name, seed=number)
        await until_served(served, "busy", "mine")
        yield served, client


async def ask(client: httpx.AsyncClient, model: str, **headers: str) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post("/v1/chat/completions", json=body, headers=named)


@asynccontextmanager
async def busy_slot(client: httpx.AsyncClient, engine: HeldEngine) -> AsyncIterator[None]:
    """Keep the only slot in use for the length of the block."""
    holding = asyncio.create_task(ask(client, "busy"))
    await engine.holding.wait()
    yield
    engine.gate.set()
    assert (await holding).status_code == 200


def fallbacks(usage: dict[str, Any]) -> list[tuple[str, str]]:
    """Return for which adapter who answered."""
    found = [result for bucket in usage["data"] for result in bucket["results"]]
    return [(r["fallback_for"], r["adapter"]) for r in found if r["fallback_for"]]


@pytest.mark.slow
async def test_a_client_that_does_not_wait_is_refused_and_the_load_begins(tmp_path: Path) -> None:
    async with one_slot(tmp_path) as (_, client):
        await ask(client, "busy")
        refused = await ask(client, "mine", x_veneer_cold_start="reject")
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "adapter_cold"
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        answer = refused
        while answer.status_code != 200:
            answer = await ask(client, "mine", x_veneer_cold_start="reject; after=5")
        assert answer.headers["x-veneer-adapter"].startswith("mine@1")
        assert "x-veneer-fallback" not in answer.headers


@pytest.mark.slow
async def test_the_base_answers_for_who_asked_for_a_fallback_and_says_so(tmp_path: Path) -> None:
    engine = HeldEngine()
    async with one_slot(tmp_path, engine) as (_, client), busy_slot(client, engine):
        answer = await ask(client, "mine", x_veneer_cold_start="fallback")
        assert answer.status_code == 200
        assert answer.headers["x-veneer-fallback"] == "base"
        assert "x-veneer-adapter" not in answer.headers
        assert answer.json()["model"] == "mine"
        asked = {"start_time": int(time.time()) - 60, "group_by": ["fallback_for", "adapter"]}
        while not (told := fallbacks((await client.get("/v1/usage", params=asked)).json())):
            await asyncio.sleep(POLL_S)
        assert told == [("mine", "echo")]


@pytest.mark.slow
async def test_an_earlier_revision_answers_before_the_base_does(tmp_path: Path) -> None:
    async with one_slot(tmp_path) as (served, client):
        source = {"source": str(builders.write(served.adapters / ".next" / "mine", seed=9))}
        published = await client.post("/v1/adapters/mine/revisions", json=source)
        assert published.status_code == 201, published.text
        await ask(client, "mine@1")
        answer = await ask(client, "mine", x_veneer_cold_start="fallback")
        assert answer.headers["x-veneer-fallback"].startswith("mine@1#sha256:")
        assert answer.headers["x-veneer-adapter"] == answer.headers["x-veneer-fallback"]


@pytest.mark.slow
async def test_who_is_patient_for_long_enough_gets_the_adapter(tmp_path: Path) -> None:
    async with one_slot(tmp_path) as (_, client):
        await ask(client, "busy")
        answer = await ask(client, "mine", x_veneer_cold_start="fallback; after=20")
        assert answer.headers["x-veneer-adapter"].startswith("mine@1")
        assert "x-veneer-fallback" not in answer.headers


@pytest.mark.slow
async def test_the_server_may_be_set_and_a_request_still_choose(tmp_path: Path) -> None:
    engine = HeldEngine()
    async with one_slot(tmp_path, engine, cold_start="reject") as (_, client):
        holding = asyncio.create_task(ask(client, "busy", x_veneer_cold_start="wait"))
        await engine.holding.wait()
        assert (await ask(client, "mine")).json()["error"]["code"] == "adapter_cold"
        waiting = asyncio.create_task(ask(client, "mine", x_veneer_cold_start="wait"))
        engine.gate.set()
        assert (await holding).status_code == (await waiting).status_code == 200


@pytest.mark.slow
async def test_a_request_waits_no_longer_than_its_client_allows(tmp_path: Path) -> None:
    engine = HeldEngine()
    async with one_slot(tmp_path, engine) as (_, client), busy_slot(client, engine):
        late = await ask(client, "mine", x_request_timeout="0.05")
        assert (late.status_code, late.json()["error"]["code"]) == (503, "deadline_exceeded")
        assert "retry-after" in late.headers


@pytest.mark.parametrize("header", ["x-veneer-cold-start", "x-request-timeout"])
async def test_a_header_that_is_no_wish_is_a_400_that_names_it(echo: Served, header: str) -> None:
    async with httpx.AsyncClient(base_url=echo.url, timeout=30) as client:
        body = {"model": "echo", "messages": [{"role": "user", "content": "hi"}]}
        refused = await client.post(
            "/v1/chat/completions", json=body, headers={header: "quickly, please"}
        )
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, header)
