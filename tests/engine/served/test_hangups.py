"""Clients that leave at any moment: the engine stops at once, and no server was at fault."""

import asyncio
import json
import random
from collections import Counter
from typing import Any

import httpx
import pytest

from support.serving import POLL_S, Served

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

CUTS = 48
AT_ONCE = 8
HI = [{"role": "user", "content": "Tell me a long story."}]
LONG: dict[str, Any] = {"max_tokens": 300, "ignore_eos": True}
ASKED: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", {"messages": HI, **LONG}),
    ("/v1/chat/completions", {"messages": HI, "n": 3, **LONG}),
    ("/v1/chat/completions", {"messages": HI, "response_format": {"type": "json_object"}, **LONG}),
    ("/v1/completions", {"prompt": "word " * 1500, **LONG}),
    ("/v1/completions", {"prompt": ["a", "b", "c"], "n": 2, **LONG}),
    ("/v1/responses", {"input": "Tell me a long story.", "max_output_tokens": 300}),
    ("/v1/messages", {"messages": HI, "max_tokens": 300}),
]


class Account:
    """What the server has counted, and what its engine does."""

    def __init__(self, text: str) -> None:
        self.outcomes: Counter[str] = Counter()
        self.running = 0.0
        for line in text.splitlines():
            name, _, value = line.rpartition(" ")
            if name.startswith("veneer_requests_total{"):
                self.outcomes[name.split('outcome="')[1].split('"')[0]] += int(float(value))
            if name.startswith(("vllm:num_requests_running{", "vllm:num_requests_waiting{")):
                self.running += float(value)
            if name.startswith("veneer_requests_in_flight{"):
                self.running += float(value)


async def account(served: Served) -> Account:
    async with httpx.AsyncClient(base_url=served.url, timeout=30) as client:
        return Account((await client.get("/metrics")).text)


async def until_idle(served: Served) -> Account:
    async with asyncio.timeout(20):
        while (found := await account(served)).running:
            await asyncio.sleep(POLL_S)
    return found


async def cut(served: Served, choose: random.Random) -> None:
    """Send a request, and hang up before its end, after it, or after some of its answer."""
    path, body = choose.choice(ASKED)
    asked = {"model": choose.choice(["haiku", "smollm2-135m-instruct"]), **body}
    raw = json.dumps({**asked, "stream": choose.random() < 0.7}).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(raw)}\r\n\r\n".encode()
    host, _, port = served.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    whole = choose.random() < 0.8
    writer.write(head + (raw if whole else raw[: choose.randrange(len(raw))]))
    await writer.drain()
    try:
        async with asyncio.timeout(choose.choice([0.01, 0.1, 1])):
            await reader.readexactly(choose.choice([1, 400, 2000]) if whole else 1)
    except (TimeoutError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.transport.abort() if choose.random() < 0.5 else writer.close()


async def test_clients_that_hang_up_stop_the_engine_and_are_no_fault_of_the_servers(
    engine_server: Served,
) -> None:
    assert engine_server.log is not None
    before = await until_idle(engine_server)
    logged = len(engine_server.log.read_text())
    choose = random.Random(11)  # noqa: S311 - the test chooses moments
    for _ in range(CUTS // AT_ONCE):
        await asyncio.gather(*(cut(engine_server, choose) for _ in range(AT_ONCE)))
    after = await until_idle(engine_server)
    new = after.outcomes - before.outcomes
    assert new["cancelled"] > CUTS // 3
    assert set(new) <= {"cancelled", "completed"}
    said = engine_server.log.read_text()[logged:]
    assert "Traceback" not in said
    assert "ERROR" not in said
    assert not [line for line in said.splitlines() if '"level": "error"' in line]
