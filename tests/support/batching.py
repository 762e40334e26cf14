"""Batches over HTTP, for tests: made from lines, waited for, and read."""

import asyncio
import json
from collections.abc import Iterable, Mapping
from typing import Any

import httpx

from support.serving import POLL_S
from veneer_server.engine.base import Answer, Call, EngineLost, Frames
from veneer_server.engine.echo import EchoEngine

CHAT = "/v1/chat/completions"
ENDED = ("completed", "failed", "expired", "cancelled")


class Gated(EchoEngine):
    """Answers a request that has the word ``slow`` only when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.lost = 0
        """How many more requests with the word ``lost`` end with the engine's death."""

    async def respond(self, call: Call) -> Answer | Frames:
        said = json.dumps(dict(call.body))
        if "slow" in said:
            self.begun.set()
            await self.go.wait()
        if "lost" in said and self.lost:
            self.lost -= 1
            raise EngineLost("the engine stopped while it was answering", retry_after_s=0.1)
        return await super().respond(call)


def line(number: int, model: str | None = "echo", url: str = CHAT, **body: Any) -> dict[str, Any]:
    """Return a request whose answer is small."""
    said = [{"role": "user", "content": f"number {number}"}]
    asked = {"messages": said, "max_tokens": 4} | body
    if model is not None:
        asked["model"] = model
    return {"custom_id": f"line-{number}", "method": "POST", "url": url, "body": asked}


def slow(number: int, word: str = "slow") -> dict[str, Any]:
    return line(number, messages=[{"role": "user", "content": word}])


def to_jsonl(lines: Iterable[Mapping[str, Any] | str]) -> bytes:
    texts = (one if isinstance(one, str) else json.dumps(one) for one in lines)
    return "".join(f"{text}\n" for text in texts).encode()


async def upload(client: httpx.AsyncClient, content: bytes) -> str:
    sent = {"file": ("lines.jsonl", content)}
    made = await client.post("/v1/files", files=sent, data={"purpose": "batch"})
    assert made.status_code == 200, made.text
    return str(made.json()["id"])


async def create(
    client: httpx.AsyncClient, lines: Iterable[Mapping[str, Any] | str], **more: Any
) -> dict[str, Any]:
    """Make a batch of ``lines``, and return it."""
    body = {
        "input_file_id": await upload(client, to_jsonl(lines)),
        "endpoint": CHAT,
        "completion_window": "24h",
        **more,
    }
    made = await client.post("/v1/batches", json=body)
    assert made.status_code == 200, made.text
    batch: dict[str, Any] = made.json()
    return batch


async def look(client: httpx.AsyncClient, batch_id: str) -> dict[str, Any]:
    found = await client.get(f"/v1/batches/{batch_id}")
    assert found.status_code == 200, found.text
    batch: dict[str, Any] = found.json()
    return batch


async def ended(client: httpx.AsyncClient, batch_id: str, within_s: float = 20) -> dict[str, Any]:
    """Poll a batch until it has ended, and return it."""
    async with asyncio.timeout(within_s):
        while (batch := await look(client, batch_id))["status"] not in ENDED:
            await asyncio.sleep(POLL_S)
    return batch


async def read(client: httpx.AsyncClient, file_id: str | None) -> dict[str, dict[str, Any]]:
    """Return the answers of a file by ``custom_id``; each stands there once."""
    if file_id is None:
        return {}
    content = await client.get(f"/v1/files/{file_id}/content")
    assert content.status_code == 200, content.text
    found = [json.loads(one) for one in content.text.splitlines()]
    by_id = {one["custom_id"]: one for one in found}
    assert len(by_id) == len(found), "a line was answered twice"
    return by_id
