"""Many checks of large adapters at once: nothing else waits for them, and they are bounded."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from support import builders
from support.serving import Served, serve_echo, until_served
from veneer_adapters.artifact.manifest import BaseFacts
from veneer_adapters.artifact.opening import Place
from veneer_adapters.doctor.report import Report
from veneer_adapters.publishing.checkup import MOST_WAITING
from veneer_adapters.sandbox.sandbox import Sandbox

NEAR_S = 30


class Slow(Sandbox):
    """Each examination goes on until the test lets it end, as that of a large file does."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Semaphore(0)
        self.goes_on = threading.Event()

    def examine(self, folder: Place, facts: BaseFacts) -> Report:
        self.begun.release()
        assert self.goes_on.wait(NEAR_S)
        return super().examine(folder, facts)


class Rig:
    def __init__(self, served: Served, client: httpx.AsyncClient, sandbox: Slow) -> None:
        self.served, self.client, self.sandbox = served, client, sandbox

    def source(self, name: str) -> str:
        return str(builders.write(self.served.adapters / ".in" / name, seed=len(name)))

    async def check(self) -> httpx.Response:
        return await self.client.post("/v1/adapters/check", json={"source": self.source("checked")})

    async def chat(self, model: str) -> int:
        messages = [{"role": "user", "content": "hello"}]
        body: dict[str, Any] = {"model": model, "messages": messages}
        return (await self.client.post("/v1/chat/completions", json=body)).status_code


@pytest.fixture
def sandbox() -> Iterator[Slow]:
    with Slow() as slow:
        yield slow
        slow.goes_on.set()


@pytest_asyncio.fixture
async def rig(tmp_path: Path, sandbox: Slow) -> AsyncIterator[Rig]:
    builders.write(tmp_path / "adapters" / "cold")
    async with (
        asyncio.timeout(2 * NEAR_S),
        serve_echo(tmp_path, sandbox=sandbox) as served,
        httpx.AsyncClient(base_url=served.url, timeout=NEAR_S) as client,
    ):
        await until_served(served, "cold")
        yield Rig(served, client, sandbox)
        sandbox.goes_on.set()


@pytest.mark.slow
async def test_nothing_else_waits_for_checks_and_they_take_turns(rig: Rig) -> None:
    checks = [asyncio.create_task(rig.check()) for _ in range(24)]
    assert await asyncio.to_thread(rig.sandbox.begun.acquire, timeout=NEAR_S)
    assert (await rig.client.get("/metrics")).status_code == 200
    assert await rig.chat("cold") == 200
    body = {"name": "new", "source": rig.source("new")}
    assert (await rig.client.post("/v1/adapters", json=body)).status_code == 201
    builders.write(rig.served.adapters / "dropped", seed=5)
    await until_served(rig.served, "dropped")
    assert not rig.sandbox.begun.acquire(blocking=False)
    rig.sandbox.goes_on.set()
    assert {found.status_code for found in await asyncio.gather(*checks)} == {200}


async def test_more_checks_than_may_wait_are_refused_and_told_when_to_come_back(rig: Rig) -> None:
    checks = [asyncio.create_task(rig.check()) for _ in range(MOST_WAITING + 1)]
    done, waiting = await asyncio.wait(checks, return_when=asyncio.FIRST_COMPLETED)
    [refused] = [task.result() for task in done]
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "adapter_unavailable"
    assert int(refused.headers["retry-after"]) > 0
    rig.sandbox.goes_on.set()
    assert {found.status_code for found in await asyncio.gather(*waiting)} == {200}
    assert (await rig.check()).status_code == 200
