"""What a store of quotas must do, told once for every store; and a Redis of the test's own."""

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from support.serving import free_port
from veneer_server.tenancy.quotas.demands import Demand, Holder, Kind
from veneer_server.tenancy.quotas.stores import Answer, QuotaStore

START_US = 1_700_000_000_000_000
MINUTE_US = 60_000_000


@dataclass
class Clock:
    """Time passes when the test says so."""

    now_us: int = START_US

    def __call__(self) -> int:
        return self.now_us

    def forward(self, seconds: float) -> None:
        self.now_us += round(seconds * 1e6)


def demand(kind: Kind, limit: int, cost: int = 1, who: str = "a") -> Demand:
    return Demand(Holder(who, who), kind, limit, cost)


async def tell_all(store: QuotaStore, clock: Clock) -> list[Any]:
    """Return what a store answers to a story in which everything happens."""
    told: list[Any] = []

    async def take(ticket: str, *demands: Demand) -> Answer:
        told.append(answer := await store.take(demands, ticket))
        return answer

    requests, tokens = demand(Kind.REQUESTS, 3), demand(Kind.TOKENS, 100, 70)
    await take("1", requests, tokens)
    await take("2", requests, tokens)  # too many tokens: the request is not taken either
    await take("2", requests, demand(Kind.TOKENS, 100, 30))
    clock.forward(30)
    await take("3", demand(Kind.TOKENS, 100, 51))
    await take("3", demand(Kind.TOKENS, 100, 50))
    await store.settle([demand(Kind.TOKENS, 100, 40), demand(Kind.REQUESTS, 3, 1)], "1")
    await take("4", demand(Kind.TOKENS, 100, 40), requests)
    await store.settle([demand(Kind.TOKENS, 100, -60)], "3")  # more was used than taken
    await take("5", demand(Kind.TOKENS, 100, 1))
    clock.forward(36)
    await take("5", demand(Kind.TOKENS, 100, 1))
    clock.forward(0.6)
    await take("5", demand(Kind.TOKENS, 100, 1))
    at_once = demand(Kind.CONCURRENCY, 2)
    for ticket in ("6", "7", "8"):
        await take(ticket, at_once)
    await store.settle([at_once], "6")
    await take("8", at_once)
    await take("9", demand(Kind.CONCURRENCY, 2, who="b"))
    clock.forward(3600)
    await store.settle([demand(Kind.TOKENS, 100, 500)], "5")  # never more than full
    await take("10", demand(Kind.TOKENS, 100, 100))
    await take("11", demand(Kind.TOKENS, 100, 1))
    return told


@contextmanager
def redis() -> Iterator[str]:
    """Run a Redis on loopback that keeps nothing; yields its URL."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    assert program is not None, "redis-server is missing: run scripts/services"
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig=TERM", program, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line)
            if "Ready to accept connections" in line:
                break
        else:
            raise AssertionError("Redis did not start:\n" + "".join(lines))
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(30)
        if process.stdout is not None:
            process.stdout.close()


async def settled(store: QuotaStore) -> None:
    """Let the task of a shared store do what waits."""
    waiting = getattr(store, "_waiting", None)
    async with asyncio.timeout(10):
        while waiting is not None and not waiting.empty():
            await store._settle_once(waiting.get_nowait())  # type: ignore[attr-defined]
