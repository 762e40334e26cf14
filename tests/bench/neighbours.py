"""One tenant sends fifty requests at a time: how long does another one wait, here and in vLLM?

    python tests/bench/neighbours.py [--minutes 0.5] [--only Veneer]

Each server serves the two-layer model with five adapters and eight sequences at a time. One tenant
asks for the fifth adapter once a second, first alone and then beside fifty clients of another
tenant, which use the other four without pause. The table shows the time of the quiet tenant's
whole answers, and the tokens of all.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles

sys.path.insert(0, str(Path(__file__).parents[1]))

import httpx

from support import tiny
from support.serving import free_port
from veneer_server.bench.peers.peers import Name, Peer, Rig, peer
from veneer_server.bench.peers.running import start

ADMIN = "a-key-of-the-operator-for-this-measurement"
CROWD, TOKENS, SEQUENCES = 50, 64, 8
NAMES = ["a0", "a1", "a2", "a3", "quiet"]


@dataclass
class Tally:
    """What one phase gave."""

    quiet_s: list[float] = field(default_factory=list)
    tokens: int = 0
    failed: int = 0

    def p95_s(self) -> float:
        return quantiles(self.quiet_s, n=20)[-1]


def server(name: Name, rig: Rig, adapters: Path) -> Peer:
    """Return the server with eight sequences, and the adapters where it looks for them."""
    made = peer(name, rig)
    if name.is_ours:
        more = {
            "VENEER_LIMITS__MAX_SEQS": str(SEQUENCES),
            "VENEER_ADAPTERS__ROOTS": f'["{adapters}"]',
            "VENEER_SERVER__API_KEY": ADMIN,
        }
        return Peer(name, made.command, {**made.environ, **more}, made.ready_path, made.must_log)
    command = list(made.command)
    command[command.index("--max-num-seqs") + 1] = str(SEQUENCES)
    command += ["--lora-modules", *(f"{one}={adapters / one}" for one in NAMES)]
    return Peer(name, command, made.environ, made.ready_path, made.must_log)


async def keys(url: str, name: Name) -> dict[str, str]:
    """Return a key for each tenant; vLLM's server knows none."""
    if not name.is_ours:
        return {"crowd": "none", "quiet": "none"}
    found = {}
    headers = {"authorization": f"Bearer {ADMIN}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as client:
        for tenant in ("crowd", "quiet"):
            made = await client.post("/v1/keys", json={"tenant": tenant, "name": tenant})
            found[tenant] = made.raise_for_status().json()["key"]
    return found


async def ask(client: httpx.AsyncClient, model: str, number: int) -> int:
    """Return how many tokens were written, 0 for an error."""
    prompt = [100 + (number * 7919 + n) % 300 for n in range(16)]
    body = {"model": model, "prompt": prompt, "max_tokens": TOKENS, "ignore_eos": True}
    answer = await client.post("/v1/completions", json=body)
    if answer.status_code != httpx.codes.OK:
        return 0
    written: int = answer.json()["usage"]["completion_tokens"]
    return written


async def crowd(client: httpx.AsyncClient, tally: Tally, number: int) -> None:
    for turn in range(10**6):
        written = await ask(client, NAMES[number % 4], number * 1000 + turn)
        tally.tokens += written
        tally.failed += not written


async def quiet(client: httpx.AsyncClient, tally: Tally, seconds: float) -> None:
    """Ask once a second, whether or not the last answer has come."""

    async def one(number: int) -> None:
        began_s = time.monotonic()
        written = await ask(client, "quiet", 10**6 + number)
        tally.tokens += written
        tally.failed += not written
        tally.quiet_s.append(time.monotonic() - began_s)

    async with asyncio.TaskGroup() as tasks:
        for number in range(round(seconds)):
            tasks.create_task(one(number))
            await asyncio.sleep(1)


@asynccontextmanager
async def beside(url: str, key: str, tally: Tally, clients: int) -> AsyncIterator[None]:
    """Keep so many clients busy for the length of the block."""
    limits = httpx.Limits(max_connections=None)
    headers = {"authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(
        base_url=url, headers=headers, timeout=600, limits=limits
    ) as client:
        tasks = [asyncio.create_task(crowd(client, tally, n)) for n in range(clients)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def measure(url: str, name: Name, seconds: float) -> tuple[Tally, Tally]:
    """Return what the quiet tenant got alone, and beside the crowd."""
    key = await keys(url, name)
    headers = {"authorization": f"Bearer {key['quiet']}"}
    found = []
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=600) as client:
        for model in NAMES:  # each is loaded, and proved by ours
            await ask(client, model, 1)
        for clients in (0, CROWD):
            tally = Tally()
            async with beside(url, key["crowd"], tally, clients):
                await quiet(client, tally, seconds)
            found.append(tally)
    return found[0], found[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=0.5)
    parser.add_argument("--only", choices=[Name.VENEER, Name.DEFAULT], default=None)
    asked = parser.parse_args()
    print("| server | alone p95, s | beside p95, s | ratio | tok/s of all | failed |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="neighbours-") as folder:
        place = Path(folder)
        model = tiny.model(place / "model")
        for number, name in enumerate(NAMES):
            tiny.adapter(place / "adapters" / name, seed=number)
        for name in (Name.VENEER, Name.DEFAULT):
            if asked.only in (None, name):
                cpus = sorted(os.sched_getaffinity(0))
                rig = Rig(model, free_port(), place / "rig", cpus)
                made = server(name, rig, place / "adapters")
                with start(made, rig, os.environ, place / "log") as running:
                    seconds = asked.minutes * 60
                    alone, busy = asyncio.run(measure(running.url, name, seconds))
                ratio = busy.p95_s() / alone.p95_s()
                print(
                    f"| {name} | {alone.p95_s():.2f} | {busy.p95_s():.2f} | {ratio:.1f}"
                    f" | {busy.tokens / seconds:.0f} | {alone.failed + busy.failed} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
