"""An answer waits in the application for a client that does not take it, not in a worker."""

import asyncio
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from support.forwarded import Forwarded

PART = 64 * 1024
PARTS = 500
MOST_AHEAD = 4 << 20
SCOPE: dict[str, Any] = {
    "type": "http",
    "http_version": "1.1",
    "method": "GET",
    "scheme": "http",
    "path": "/",
    "raw_path": b"/",
    "query_string": b"",
    "headers": [],
}


async def nothing() -> Message:
    await asyncio.Event().wait()
    raise AssertionError("nobody sets it")


@pytest.mark.parametrize("yields", [True, False], ids=["a file", "a loop that never waits"])
async def test_an_answer_waits_in_the_application_for_its_client(yields: bool) -> None:
    sent, taken, ahead = 0, 0, 0

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(PARTS):
            await send({"type": "http.response.body", "body": b"x" * PART, "more_body": True})
            sent += PART
            if yields:
                await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def write(message: Message) -> None:
        nonlocal taken, ahead
        ahead = max(ahead, sent - taken)
        for _ in range(20):  # a client that is slower than the application
            await asyncio.sleep(0)
        taken += len(message.get("body", b""))

    forwarded = Forwarded(answer)
    async with asyncio.timeout(60):
        await forwarded(SCOPE, nothing, write)
    await forwarded.close()
    assert taken == PARTS * PART
    assert ahead < MOST_AHEAD
