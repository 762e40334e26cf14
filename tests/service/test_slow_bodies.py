"""Clients that begin a body and do not end it."""

import asyncio
from pathlib import Path

import orjson
import pytest

from support.clock import forward
from support.raw_http import connect
from support.serving import serve_echo
from veneer_server.engine.base import Answer, Call, Frames
from veneer_server.engine.echo import EchoEngine

pytestmark = pytest.mark.slow  # time passes

BODY = orjson.dumps({"model": "echo", "messages": [{"role": "user", "content": "one two"}]})
HALF = len(BODY) // 2


def head(path: bytes = b"/v1/chat/completions", *headers: bytes) -> bytes:
    lines = [b"POST " + path + b" HTTP/1.1", b"Host: x", *headers]
    return b"\r\n".join([*lines, b"Content-Length: %d" % len(BODY), b"", b""])


@pytest.mark.parametrize("begun", [b"", BODY[:HALF]], ids=["none", "half"])
async def test_a_body_that_does_not_arrive_is_a_408_and_ends_the_connection(
    tmp_path: Path, begun: bytes
) -> None:
    limits = {"body_timeout_s": 0.2}
    async with serve_echo(tmp_path, limits=limits) as served, connect(served.url) as wire:
        await wire.send(head() + begun)
        answer = await wire.answer()
        assert await wire.rest() == b""
    assert (answer.status, answer.error["code"]) == (408, "body_too_slow")
    assert answer.error["message"] == (
        "The body did not arrive in time. It may take 0.2 seconds, and one more for each"
        " 8192 bytes."
    )


async def test_a_body_that_nobody_asked_for_does_not_keep_its_connection(tmp_path: Path) -> None:
    limits = {"body_timeout_s": 0.2}
    async with serve_echo(tmp_path, limits=limits) as served, connect(served.url) as wire:
        await wire.send(head(b"/nowhere") + BODY[:HALF])
        assert (await wire.answer()).status == 404
        assert await wire.rest() == b""


class GatedEngine(EchoEngine):
    """Answers when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()

    async def respond(self, call: Call) -> Answer | Frames:
        self.asked.set()
        await self.gate.wait()
        return await super().respond(call)


async def test_a_body_that_waits_behind_a_long_answer_is_not_late(tmp_path: Path) -> None:
    engine = GatedEngine()
    async with serve_echo(tmp_path, engine) as served, connect(served.url) as wire:
        await wire.send(head() + BODY + head() + BODY[:HALF])
        async with asyncio.timeout(10):
            await engine.asked.wait()
        forward(3600)
        engine.gate.set()
        assert (await wire.answer()).status == 200
        await wire.send(BODY[HALF:])
        assert (await wire.answer()).status == 200


async def test_a_body_that_has_arrived_is_answered_however_long_that_takes(tmp_path: Path) -> None:
    engine = GatedEngine()
    async with serve_echo(tmp_path, engine) as served, connect(served.url) as wire:
        await wire.send(head(b"/v1/chat/completions", b"Expect: 100-continue"))
        assert (await wire.answer()).status == 100
        await wire.send(BODY)
        async with asyncio.timeout(10):
            await engine.asked.wait()
        forward(3600)
        await asyncio.sleep(0)
        engine.gate.set()
        assert (await wire.answer()).status == 200
        await wire.send(head() + BODY)
        assert (await wire.answer()).status == 200
