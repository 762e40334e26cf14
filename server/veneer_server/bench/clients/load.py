"""``python -m veneer_server.bench.clients.load``: a process that sends lanes of requests.

It reads a ``Load`` as JSON from standard input and writes an ``Outcome`` to standard output. A
lane sends its requests one after the other, and lanes run side by side. A background lane begins
again whenever it ends, and is broken off when the last foreground lane has ended.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import httpx

from veneer_server.bench.peers.running import BenchFailed

_LONGEST_S = 600

Request = tuple[str, Mapping[str, Any]]
"""Path and body. If the body asks for a stream, the answer is read event by event."""
Lane = Sequence[Request]


@dataclass(frozen=True, slots=True)
class Load:
    """The lanes to send, and the server that gets them."""

    url: str
    lanes: Sequence[Lane]
    background: Sequence[Lane] = ()


@dataclass(slots=True)
class Told:
    """The answer to one request. Times are in seconds since the request was sent."""

    ttft_s: float = 0.0
    itl_s: list[float] = field(default_factory=list)
    total_s: float = 0.0
    tokens: int = 0
    text: str = ""
    status: int = 0
    cold_ms: float | None = None
    """Milliseconds that the request waited for its adapter, as our server says; else None."""


@dataclass(slots=True)
class Outcome:
    """The answers to a load, lane by lane."""

    lanes: list[list[Told]]
    background: list[list[Told]]
    total_s: float

    def answers(self) -> list[Told]:
        """Return the answers to all foreground requests, lane by lane."""
        return [told for lane in self.lanes for told in lane]


def send(load: Load, *, strict: bool = True) -> Outcome:
    """Send ``load`` from another process and return the answers.

    Raises:
        BenchFailed: the process failed, or, if ``strict``, a foreground request was refused.
    """
    done = subprocess.run(
        [sys.executable, "-m", "veneer_server.bench.clients.load"],
        input=json.dumps(asdict(load)),
        capture_output=True,
        text=True,
        timeout=_LONGEST_S,
        check=False,
    )
    if done.returncode != 0:
        raise BenchFailed(f"The client failed: {done.stderr.strip().splitlines()[-1]}")
    found = json.loads(done.stdout)
    outcome = Outcome(_told(found["lanes"]), _told(found["background"]), found["total_s"])
    bad = [told for told in outcome.answers() if told.status != httpx.codes.OK]
    if bad and strict:
        raise BenchFailed(f"{len(bad)} requests failed: {bad[0].status} {bad[0].text[:300]}")
    return outcome


def _told(lanes: list[list[dict[str, Any]]]) -> list[list[Told]]:
    return [[Told(**told) for told in lane] for lane in lanes]


async def run(load: Load) -> Outcome:
    """Send ``load`` from this process."""
    # Each request has its own connection. llama.cpp closes idle ones, and would lose a request.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=load.url, timeout=_LONGEST_S, limits=limits) as client:
        background: list[list[Told]] = [[] for _ in load.background]
        endless = [
            asyncio.create_task(_repeat(client, lane, told))
            for lane, told in zip(load.background, background, strict=True)
        ]
        began = time.perf_counter()
        lanes = await asyncio.gather(*(_follow(client, lane) for lane in load.lanes))
        total_s = time.perf_counter() - began
        for task in endless:
            task.cancel()
        await asyncio.gather(*endless, return_exceptions=True)
    return Outcome(lanes, background, total_s)


async def _follow(client: httpx.AsyncClient, lane: Lane) -> list[Told]:
    found: list[Told] = []
    for request in lane:
        found.append(Told())
        await _ask(client, request, found[-1])
    return found


async def _repeat(client: httpx.AsyncClient, lane: Lane, found: list[Told]) -> None:
    while True:
        for request in lane:
            # In the list before it has ended, because a request that is broken off counts too.
            found.append(Told())
            await _ask(client, request, found[-1])


async def _ask(client: httpx.AsyncClient, request: Request, told: Told) -> None:
    path, body = request
    began = last = time.perf_counter()
    async with client.stream("POST", path, json=body) as answer:
        told.status = answer.status_code
        cold = answer.headers.get("x-veneer-cold-start-ms")
        told.cold_ms = float(cold) if cold else None
        if not body.get("stream") or answer.status_code != httpx.codes.OK:
            told.text = (await answer.aread()).decode(errors="replace")
        else:
            async for line in answer.aiter_lines():
                if _take(line, told):
                    now = time.perf_counter()
                    if told.ttft_s:
                        told.itl_s.append(now - last)
                    else:
                        told.ttft_s = now - began
                    last = now
    told.total_s = time.perf_counter() - began


def _take(line: str, told: Told) -> bool:
    """Add an event to ``told``; return whether the event carries a token."""
    if not line.startswith("data: {"):
        return False
    event = json.loads(line.removeprefix("data: "))
    usage = event.get("usage") or {}
    told.tokens = usage.get("completion_tokens") or told.tokens
    if not event.get("choices"):
        return False
    told.text += event["choices"][0].get("text") or ""
    return True


def main() -> None:
    """Read a load, send it, and write the outcome."""
    outcome = asyncio.run(run(Load(**json.load(sys.stdin))))
    json.dump(asdict(outcome), sys.stdout)


if __name__ == "__main__":
    main()
