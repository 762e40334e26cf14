"""The same faults of the engine, here and in vLLM's own server: who gets which end, and when?

    python tests/bench/lost_engines.py [--watch 150] [--only Veneer] [--fault SIGKILL]

Each server serves the two-layer model with two adapters. Ten requests run (eight streams, two
plain) when the engine core gets SIGKILL, and in another run SIGSTOP. The log tells, in seconds
since then, how each request ended, what each health endpoint and a small new request answered, and
when service came back. Settings are the defaults of each, but for the memory of the KV cache.
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import httpx
import psutil

from support import tiny
from support.serving import free_port
from veneer_server.bench.peers.peers import BASE, Name, Rig, peer
from veneer_server.bench.peers.running import Running, start

FAULTS = {"SIGKILL": signal.SIGKILL, "SIGSTOP": signal.SIGSTOP}
SERVERS = {Name.VENEER: ("/livez", "/readyz", "/health"), Name.DEFAULT: ("/health", "/ping")}
STREAMS, PLAIN = 8, 2
ADAPTERS = ["one", "two"]
LOOK_S, ASK_S = 0.1, 1.0
"""Pauses between two looks at a health endpoint, and between two new requests."""
PATIENCE_S = 5.0
"""How long a look or a new request waits for its answer."""
MODELS = [BASE, *ADAPTERS]


@dataclass
class Watch:
    """What happened, in seconds since the fault."""

    since_s: float = 0.0
    ended: dict[str, tuple[float, str]] = field(default_factory=dict)
    last: dict[str, str] = field(default_factory=dict)
    lost: bool = False
    """Whether a new request has failed."""
    returned: asyncio.Event = field(default_factory=asyncio.Event)

    def now_s(self) -> float:
        return time.monotonic() - self.since_s

    def tell(self, what: str, found: str) -> None:
        """Log what was found, if it is news."""
        if self.last.get(what) != found:
            self.last[what] = found
            say(f"  {self.now_s():7.2f} s  {what}: {found}")

    def end(self, request: str, found: str) -> None:
        self.ended[request] = (self.now_s(), found)
        self.tell(request, found)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def body(number: int, **more: Any) -> dict[str, Any]:
    return {
        "model": MODELS[number % len(MODELS)],
        "messages": [{"role": "user", "content": f"Count to {number}."}],
        "max_tokens": 4000,
        "ignore_eos": True,
        **more,
    }


async def plain(client: httpx.AsyncClient, number: int) -> str:
    answer = await client.post("/v1/chat/completions", json=body(number))
    return f"{answer.status_code} {answer.text[:160]}"


async def streamed(client: httpx.AsyncClient, number: int, begun: asyncio.Event) -> str:
    lines: list[str] = []
    asked = body(number, stream=True)
    async with client.stream("POST", "/v1/chat/completions", json=asked) as answer:
        async for line in answer.aiter_lines():
            lines = [*lines[-1:], line] if line else lines
            if '"content":"' in line:
                begun.set()
    return "ended with " + ", then ".join(line[:160] for line in lines)


async def told(watch: Watch, request: str, work: Any) -> None:
    try:
        watch.end(request, await work)
    except httpx.HTTPError as error:
        watch.end(request, f"{type(error).__name__}: {error}")


async def look(client: httpx.AsyncClient, watch: Watch, path: str) -> None:
    while True:
        try:
            found = str((await client.get(path, timeout=PATIENCE_S)).status_code)
        except httpx.HTTPError as error:
            found = type(error).__name__
        watch.tell(f"GET {path}", found)
        await asyncio.sleep(LOOK_S)


async def ask(client: httpx.AsyncClient, watch: Watch) -> None:
    small = {"model": "one", "prompt": "a", "max_tokens": 1}
    while True:
        try:
            found = await client.post("/v1/completions", json=small, timeout=PATIENCE_S)
            text = str(found.status_code)
        except httpx.HTTPError as error:
            text = type(error).__name__
        watch.tell("a new request", text)
        watch.lost = watch.lost or text != "200"
        if watch.lost and text == "200":
            watch.returned.set()
        await asyncio.sleep(ASK_S)


async def alive(watch: Watch, pid: int) -> None:
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        await asyncio.sleep(LOOK_S)
    watch.tell("the server's process", "has ended")


async def run(running: Running, paths: Sequence[str], fault: str, watch_s: float) -> None:
    watch = Watch()
    # Longer than all that is watched: no client gives up by itself.
    async with httpx.AsyncClient(base_url=running.url, timeout=2 * watch_s) as client:
        begun = [asyncio.Event() for _ in range(STREAMS)]
        requests = [
            asyncio.create_task(told(watch, f"stream {n}", streamed(client, n, begun[n])))
            for n in range(STREAMS)
        ]
        requests += [
            asyncio.create_task(told(watch, f"plain {n}", plain(client, n))) for n in range(PLAIN)
        ]
        async with asyncio.timeout(120):
            await asyncio.gather(*(event.wait() for event in begun))
        watch.since_s = time.monotonic()
        os.kill(engine_core(running.pid), FAULTS[fault])
        watchers = [asyncio.create_task(look(client, watch, path)) for path in paths]
        watchers.append(asyncio.create_task(ask(client, watch)))
        watchers.append(asyncio.create_task(alive(watch, running.pid)))
        with suppress(TimeoutError):
            async with asyncio.timeout(watch_s):
                await asyncio.gather(*requests, watch.returned.wait())
        conclude(watch, watch_s)
        for task in (*requests, *watchers):
            task.cancel()
        await asyncio.wait([*requests, *watchers])


def conclude(watch: Watch, watch_s: float) -> None:
    ends = sorted(at_s for at_s, _ in watch.ended.values())
    when = f"from {ends[0]:.2f} to {ends[-1]:.2f} s" if ends else "never"
    back = f"after {watch.now_s():.1f} s" if watch.returned.is_set() else f"not in {watch_s:g} s"
    say(f"  {len(ends)} of {STREAMS + PLAIN} requests ended, {when}; service came back: {back}")


def engine_core(server: int) -> int:
    [core] = [
        child.pid
        for child in psutil.Process(server).children()
        if not any(name in " ".join(child.cmdline()) for name in ("resource_tracker", "zygote"))
    ]
    return core


async def load(running: Running, folder: Path) -> None:
    """Load both adapters, which every server can by vLLM's own route."""
    async with httpx.AsyncClient(base_url=running.url, timeout=60) as client:
        for seed, name in enumerate(ADAPTERS):
            path = tiny.adapter(folder / "adapters" / ".incoming" / name, seed=seed)
            asked = {"lora_name": name, "lora_path": str(path)}
            (await client.post("/v1/load_lora_adapter", json=asked)).raise_for_status()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--watch", type=float, default=150, help="Seconds after each fault.")
    parser.add_argument("--only", choices=[str(name) for name in SERVERS])
    parser.add_argument("--fault", choices=list(FAULTS))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        model = tiny.model(folder / "tiny")
        for server, paths in SERVERS.items():
            for fault in FAULTS:
                if asked.only not in (None, str(server)) or asked.fault not in (None, fault):
                    continue
                rig = Rig(model, free_port(), folder / "rig", sorted(os.sched_getaffinity(0)))
                with start(peer(server, rig), rig, os.environ, folder / "log") as running:
                    asyncio.run(load(running, rig.folder))
                    say(
                        f"{server}, {fault} to its engine core, ready after {running.start_s:.0f} s"
                    )
                    asyncio.run(run(running, paths, fault, asked.watch))


if __name__ == "__main__":
    main()
