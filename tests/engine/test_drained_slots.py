"""With the real engine in this process: the slot of a revision nobody means any more is freed."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from support.lending import Lent
from support.places import DEMO
from support.serving import POLL_S, Served, serve_app
from veneer_server.settings import Settings

pytestmark = [
    pytest.mark.engine,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(300),
]

CONTENT = {1: "pirate", 2: "haiku"}


@pytest.fixture
def engine(vllm_engine: Any) -> Lent:
    return Lent(vllm_engine)


@pytest_asyncio.fixture(loop_scope="session")
async def served(engine: Lent, tmp_path: Path) -> AsyncIterator[Served]:
    """A gateway over the shared engine, with revisions 1 and 2 of ``swapped``, 1 live."""
    flags = {
        "adapters": {"dir": tmp_path / "adapters", "device_slots": 8, "host_slots": 16},
        "state": {"dir": tmp_path / "state"},
    }
    settings = Settings.load(environ={}, flags=flags)
    async with serve_app(settings, engine) as served:  # type: ignore[arg-type]
        yield served


@pytest_asyncio.fixture(loop_scope="session")
async def client(served: Served, engine: Lent) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
        for number, content in CONTENT.items():
            folder = served.adapters / ".incoming" / content
            shutil.copytree(DEMO / content, folder)
            path = "/v1/adapters" if number == 1 else "/v1/adapters/swapped/revisions"
            body = {"source": str(folder), **({"name": "swapped"} if number == 1 else {})}
            (await client.post(path, json=body)).raise_for_status()
        yield client
        # Gone already where that was the test; the engine must be left as it was.
        await client.delete("/v1/adapters/swapped")
        await until_on_device(engine)


async def move(client: httpx.AsyncClient, number: int) -> None:
    path = "/v1/adapters/swapped/aliases/live"
    (await client.put(path, json={"revision": number})).raise_for_status()


async def until_on_device(engine: Lent, *digests: str) -> None:
    """Return when the worker holds exactly ``digests`` of the server's adapters."""
    async with asyncio.timeout(20):
        while await engine.on_device() != {*digests}:
            await asyncio.sleep(POLL_S)


async def test_the_old_revision_leaves_the_worker_when_its_last_stream_ends(
    engine: Lent, client: httpx.AsyncClient
) -> None:
    revisions = (await client.get("/v1/adapters/swapped/revisions")).json()["data"]
    old, new = (r["digest"].removeprefix("sha256:")[:24] for r in reversed(revisions))
    body = {
        "model": "swapped",
        "messages": [{"role": "user", "content": "Tell me a long story."}],
        "max_tokens": 120,
        "stream": True,
        "ignore_eos": True,
    }
    await move(client, 1)
    async with client.stream("POST", "/v1/chat/completions", json=body) as stream:
        assert stream.headers["x-veneer-adapter"].startswith("swapped@1#")
        lines = stream.aiter_lines()
        await anext(lines)
        await move(client, 2)
        (await client.post("/v1/adapters/swapped/load")).raise_for_status()
        await until_on_device(engine, old, new)
        rest = [line async for line in lines if line]
    assert rest[-1] == "data: [DONE]"
    await until_on_device(engine, new)


async def test_a_removed_adapter_leaves_the_worker_at_once_when_it_is_idle(
    engine: Lent, client: httpx.AsyncClient
) -> None:
    (await client.post("/v1/adapters/swapped/load")).raise_for_status()
    assert await engine.on_device()
    (await client.delete("/v1/adapters/swapped")).raise_for_status()
    await until_on_device(engine)
