"""Clients in closed loops: each asks, writes down what it saw, and asks again."""

import asyncio
import json
import random
import time
from typing import Any
from uuid import uuid4

import httpx

from soak.ledger import End, Kind, Record
from soak.world import BASE, PROMPTS, World, chat

_WEIGHTS = {
    Kind.STREAM: 60, Kind.PLAIN: 25, Kind.LEAVE: 5, Kind.UNKNOWN: 5, Kind.INVALID: 5,
}  # fmt: skip
_ZIPF = 1.1
_SHARE_OF_BASE = 0.15
_AGAIN_S = 0.2
"""Pause of a client that found nobody listening."""


class Clients:
    """``count`` clients, until they are told to stop."""

    def __init__(self, world: World, count: int, seed: int) -> None:
        self._world = world
        self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose
        self._popularity = [1 / (rank + 1) ** _ZIPF for rank in range(len(world.names))]
        self._count = count
        self.stopping = asyncio.Event()
        self.records: list[Record] = []

    async def run(self) -> None:
        """Ask until ``stopping`` is set."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._count):
                group.create_task(self._loop())

    async def _loop(self) -> None:
        async with httpx.AsyncClient(base_url=self._world.url, timeout=100) as client:
            while not self.stopping.is_set():
                record = await self._ask(client)
                self.records.append(record)
                if record.end in (End.UNANSWERED, End.CUT) or record.status == 503:
                    await asyncio.sleep(_AGAIN_S)

    def _choose(self) -> tuple[Kind, str, str]:
        kind = self._random.choices([*_WEIGHTS], [*_WEIGHTS.values()])[0]
        model = self._random.choices(self._world.names, self._popularity)[0]
        if kind is Kind.UNKNOWN:
            model = f"nobody-{self._random.randrange(10**6)}"
        elif self._random.random() < _SHARE_OF_BASE:
            model = BASE
        return kind, model, self._random.choice(PROMPTS)

    async def _ask(self, client: httpx.AsyncClient) -> Record:
        kind, model, prompt = self._choose()
        streamed = kind in (Kind.STREAM, Kind.LEAVE)
        body = chat(model, prompt, stream=streamed)
        if kind is Kind.INVALID:
            body["temperature"] = 9
        seen = _Seen(uuid4().hex, kind, model, prompt)
        headers = {"x-request-id": seen.request_id}
        try:
            async with client.stream(
                "POST", "/v1/chat/completions", json=body, headers=headers
            ) as answer:
                await seen.read(answer, streamed=streamed)
        except httpx.ConnectError:
            seen.end = End.UNANSWERED
        except httpx.TransportError:
            seen.end = End.CUT
        return seen.record()


class _Seen:
    """What one client sees of one answer."""

    def __init__(self, request_id: str, kind: Kind, model: str, prompt: str) -> None:
        self.request_id = request_id
        self.end = End.CUT
        self._asked = {"kind": kind, "model": model, "prompt": prompt}
        self._sent_s = time.monotonic()
        self._begun_s: float | None = None
        self._more: dict[str, Any] = {}

    async def read(self, answer: httpx.Response, *, streamed: bool) -> None:
        self._begun_s = time.monotonic()
        self._more["status"] = answer.status_code
        self._more["served_by"] = answer.headers.get("x-veneer-adapter", "")
        if streamed and answer.status_code == 200:
            await self._read_events(answer)
            return
        await answer.aread()
        document = answer.json()
        if "error" in document:
            self._fail(document["error"])
        else:
            self._more["text"] = document["choices"][0]["message"]["content"]
            self.end = End.COMPLETED

    async def _read_events(self, answer: httpx.Response) -> None:
        pieces: list[str] = []
        async for line in answer.aiter_lines():
            if line == "data: [DONE]":
                self.end = End.COMPLETED
            elif line.startswith("data: "):
                event = json.loads(line.removeprefix("data: "))
                if "error" in event:
                    self._fail(event["error"])
                else:
                    pieces += [c["delta"].get("content") or "" for c in event["choices"]]
            if self._asked["kind"] is Kind.LEAVE and len(pieces) > 3:
                self.end = End.LEFT
                return
        self._more["text"] = "".join(pieces)

    def _fail(self, error: dict[str, Any]) -> None:
        self.end = End.ERROR
        self._more["code"] = error["code"]

    def record(self) -> Record:
        now = time.monotonic()
        return Record(
            request_id=self.request_id,
            **self._asked,  # type: ignore[arg-type]
            sent_s=self._sent_s,
            begun_s=self._begun_s or now,
            ended_s=now,
            end=self.end,
            **self._more,
        )
