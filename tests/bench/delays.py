"""What a worker adds to the time of a request, in milliseconds.

    python tests/bench/delays.py [--requests 2000] [--workers 2]

Two servers over the engine without a model, one without workers and one with them, are asked in
turn on kept connections: a plain chat request, and a stream until its first event. So what else the
machine does falls on both.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import httpx
from streaming import echo, wait_for_workers

from support.serving import free_port
from veneer_server.bench.peers.peers import Rig
from veneer_server.bench.peers.running import start

BODY = {"model": "echo", "messages": [{"role": "user", "content": "one two three"}]}
PATH = "/v1/chat/completions"


def plain(client: httpx.Client) -> float:
    """Return the milliseconds of a whole answer."""
    began_s = time.perf_counter()
    client.post(PATH, json=BODY).raise_for_status()
    return (time.perf_counter() - began_s) * 1000


def streamed(client: httpx.Client) -> float:
    """Return the milliseconds until the first event."""
    began_s = time.perf_counter()
    with client.stream("POST", PATH, json={**BODY, "stream": True}) as answer:
        parts = answer.iter_raw()
        next(parts)
        took_s = time.perf_counter() - began_s
        for _ in parts:
            pass
    return took_s * 1000


def show(kind: str, server: str, found: Sequence[float]) -> None:
    cuts = statistics.quantiles(found, n=100)
    print(f"| {kind} | {server} | {cuts[49]:.2f} | {cuts[94]:.2f} | {cuts[98]:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    counts = {"itself": 1, f"{asked.workers} workers": asked.workers}
    print("| request | server | median ms | p95 | p99 |\n|---|---|---|---|---|")
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="delays-")))
        clients = {}
        for server, count in counts.items():
            folder = place / str(count)
            folder.mkdir()
            rig = Rig(place, free_port(), folder / "rig", sorted(os.sched_getaffinity(0)))
            running = stack.enter_context(start(echo(rig, count), rig, os.environ, folder / "log"))
            wait_for_workers(running, count)
            clients[server] = stack.enter_context(httpx.Client(base_url=running.url))
        for ask in (plain, streamed):
            found: dict[str, list[float]] = {server: [] for server in clients}
            for _ in range(asked.requests):
                for server, client in clients.items():
                    found[server].append(ask(client))
            for server, times in found.items():
                show(ask.__name__, server, times)


if __name__ == "__main__":
    main()
