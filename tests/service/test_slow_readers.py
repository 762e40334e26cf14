"""Clients that do not read what they asked for: they are cut, and what they held is free."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from structlog.testing import capture_logs

from support import builders
from support.raw_http import Wire, connect
from support.serving import POLL_S, serve_echo, until_served
from veneer_server.engine.base import Answer, Call, Frames
from veneer_server.engine.echo import EchoEngine

pytestmark = pytest.mark.slow  # sockets are filled, and time passes

AT_ONCE = {"write_timeout_s": 0.2}


class EndlessEngine(EchoEngine):
    """Streams without end, and knows when a stream was stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.stopped = asyncio.Event()

    async def respond(self, call: Call) -> Answer | Frames:
        return self._frames() if call.body.get("stream") else await super().respond(call)

    async def _frames(self) -> Frames:
        try:
            while True:
                yield b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n' % (b"w" * 50_000)
                await asyncio.sleep(0)
        finally:
            self.stopped.set()


def post(model: str) -> bytes:
    body = orjson.dumps({"model": model, "stream": True, "messages": []})
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


async def logged(lines: Sequence[Any], path: str) -> dict[str, Any]:
    """Return the first log line of a request for ``path`` that did not end well."""
    async with asyncio.timeout(60):
        while True:
            for line in lines:
                if line["event"] == "request" and line["path"] == path and "code" in line:
                    return dict(line)
            await asyncio.sleep(POLL_S)


async def test_a_client_that_reads_nothing_is_cut_and_its_slot_is_free(tmp_path: Path) -> None:
    engine, slots = EndlessEngine(), {"device_slots": 1, "host_slots": 2, "load_timeout_s": 30}
    async with serve_echo(tmp_path, engine, limits=AT_ONCE, adapters=slots) as served:
        for seed, name in enumerate(("mine", "yours")):
            builders.write(served.adapters / name, seed=seed)
        await until_served(served, "mine", "yours")
        with capture_logs() as lines:
            async with connect(served.url, receive_bytes=2048) as wire:
                await wire.send(post("mine"))
                line = await logged(lines, "/v1/chat/completions")
                assert engine.stopped.is_set()
                async with httpx.AsyncClient(base_url=served.url, timeout=10) as client:
                    body = {"model": "yours", "messages": [{"role": "user", "content": "hi"}]}
                    answer = await client.post("/v1/chat/completions", json=body)
                assert answer.status_code == 200
                assert not await ended_well(wire)
    assert (line["status"], line["outcome"], line["code"]) == (200, "cancelled", "client_timeout")


async def test_whole_answers_that_nobody_reads_are_not_kept_either(tmp_path: Path) -> None:
    async with serve_echo(tmp_path, limits=AT_ONCE) as served:
        with capture_logs() as lines:
            async with connect(served.url, receive_bytes=2048) as wire:
                sending = asyncio.create_task(_ask_for_ever(wire, b"GET /metrics"))
                line = await logged(lines, "/metrics")
                with pytest.raises(ConnectionError):
                    await asyncio.wait_for(sending, 60)
    assert line["code"] == "client_timeout"


async def test_a_client_that_goes_on_reading_keeps_its_stream_however_far_behind_it_is(
    tmp_path: Path,
) -> None:
    engine, loop, timeout_s = EndlessEngine(), asyncio.get_running_loop(), 0.5
    async with (
        serve_echo(tmp_path, engine, limits={"write_timeout_s": timeout_s}) as served,
        connect(served.url, receive_bytes=2048) as wire,
    ):
        await wire.send(post("echo"))
        end = loop.time() + 4 * timeout_s
        while loop.time() < end:
            await wire.some(200)
            await asyncio.sleep(0.01)  # a line of 20 kB/s
        assert not engine.stopped.is_set()


async def _ask_for_ever(wire: Wire, request: bytes) -> None:
    while True:
        await wire.send(request + b" HTTP/1.1\r\nHost: x\r\n\r\n")


async def ended_well(wire: Wire) -> bool:
    """Return whether the server ended the connection after a whole answer."""
    try:
        return (await wire.rest()).endswith(b"0\r\n\r\n")
    except ConnectionError:
        return False
