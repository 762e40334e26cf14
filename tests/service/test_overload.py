"""More clients than the server serves at the same time."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import orjson
import pytest
from structlog.testing import capture_logs

from support.raw_http import Wire, ask, connect
from support.serving import serve_echo
from veneer_server.engine.base import Answer, Call, Frames
from veneer_server.engine.echo import EchoEngine

pytestmark = pytest.mark.slow  # a refused connection lingers

BODY = orjson.dumps({"model": "echo", "messages": [{"role": "user", "content": "one two"}]})
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
POST = HEAD % len(BODY) + BODY


def get(path: bytes) -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n"


class GatedEngine(EchoEngine):
    """Answers when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.asked = asyncio.Semaphore(0)

    async def respond(self, call: Call) -> Answer | Frames:
        self.asked.release()
        await self.gate.wait()
        return await super().respond(call)

    async def until_asked(self, times: int) -> None:
        """Return when so many more requests have come."""
        async with asyncio.timeout(10):
            for _ in range(times):
                await self.asked.acquire()


async def test_above_the_limit_of_connections_only_probes_are_answered(tmp_path: Path) -> None:
    engine = GatedEngine()
    async with (
        serve_echo(tmp_path, engine, limits={"max_connections": 2}) as served,
        AsyncExitStack() as stack,
    ):
        busy = [await stack.enter_async_context(connect(served.url)) for _ in range(2)]
        for wire in busy:
            await wire.send(POST)
        await engine.until_asked(2)
        for path in (b"/livez", b"/readyz", b"/health", b"/ping", b"/metrics?x=y"):
            answer = await ask(served.url, get(path))
            assert (answer.status, answer.header("connection")) == (200, "close"), path
        async with connect(served.url) as wire:
            await wire.send(POST)
            refused = await wire.answer()
            assert await wire.rest() == b""
        async with connect(served.url) as begun:
            await begun.send(b"GET /livez HTTP/1.1\r\n")
            engine.gate.set()
            assert [(await wire.answer()).status for wire in busy] == [200, 200]
            for wire in busy:  # those that were first stay, although there are too many
                await wire.send(get(b"/v1/models"))
                assert (await wire.answer()).status == 200
    assert (refused.status, refused.error["code"]) == (503, "server_overloaded")
    assert refused.header("retry-after") == "5"
    assert refused.header("connection") == "close"


async def used(stack: AsyncExitStack, url: str) -> Wire:
    """Return a connection on which one request was answered."""
    wire = await stack.enter_async_context(connect(url))
    await wire.send(get(b"/v1/models"))
    assert (await wire.answer()).status == 200
    return wire


async def test_the_connection_that_was_idle_longest_makes_room(tmp_path: Path) -> None:
    async with (
        serve_echo(tmp_path, limits={"max_connections": 2}) as served,
        AsyncExitStack() as stack,
    ):
        first, second = await used(stack, served.url), await used(stack, served.url)
        await first.send(get(b"/v1/models"))
        assert (await first.answer()).status == 200
        third = await used(stack, served.url)
        assert await second.rest() == b""
        for wire in (first, third):
            await wire.send(get(b"/v1/models"))
            assert (await wire.answer()).status == 200


async def test_a_request_that_finds_the_queue_full_is_told_when_to_come_back(
    tmp_path: Path,
) -> None:
    engine, limits = GatedEngine(), {"max_seqs": 1, "max_queue": 2}
    with capture_logs() as lines:
        refused, metrics = await overloaded(tmp_path, engine, limits)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "server_overloaded")
    assert refused.headers["retry-after"] == "60"
    assert 'veneer_refusals_total{reason="server_overloaded"} 1.0' in metrics
    [line] = [line for line in lines if line.get("code") == "server_overloaded"]
    assert (line["event"], line["status"], line["log_level"]) == ("request", 503, "warning")
    assert line["why"] == refused.json()["error"]["message"]


async def overloaded(
    folder: Path, engine: GatedEngine, limits: Mapping[str, int]
) -> tuple[httpx.Response, str]:
    """Ask once more than may wait; return that answer, and the metrics afterwards."""
    async with (
        serve_echo(folder, engine, limits=limits) as served,
        httpx.AsyncClient(base_url=served.url, timeout=30) as client,
        asyncio.TaskGroup() as tasks,
    ):
        post = {"url": "/v1/chat/completions", "content": BODY}
        asked = {tasks.create_task(client.post(**post)) for _ in range(4)}
        async with asyncio.timeout(10):
            [first], waiting = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        refused = first.result()
        engine.gate.set()
        assert [(await task).status_code for task in waiting] == [200, 200, 200]
        assert (await client.post(**post)).status_code == 200
        metrics = (await client.get("/metrics")).text
    return refused, metrics
