"""An answer may take longer than an idle connection stays open."""

import asyncio
from pathlib import Path

import httpx

from support.serving import serve_echo
from veneer_server.engine.base import Answer, Call, Frames
from veneer_server.engine.echo import EchoEngine

KEEP_ALIVE_S = 0.1
CHAT = {"model": "echo", "messages": [{"role": "user", "content": "hi"}]}


class ThinkingEngine(EchoEngine):
    """Needs three times as long for an answer as an idle connection stays open."""

    async def respond(self, call: Call) -> Answer | Frames:
        await asyncio.sleep(3 * KEEP_ALIVE_S)
        return await super().respond(call)


async def test_a_client_that_waits_for_its_answer_is_not_idle(tmp_path: Path) -> None:
    settings = {"keep_alive_s": KEEP_ALIVE_S}
    async with (
        serve_echo(tmp_path, ThinkingEngine(), server=settings) as served,
        httpx.AsyncClient(base_url=served.url, timeout=20) as client,
    ):
        for _ in range(2):
            assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 200
