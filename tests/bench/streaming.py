"""CPU of the API process for each streamed token, in microseconds, and tokens a second.

    python tests/bench/streaming.py [--servers echo coreless vllm-coreless] [--streams 1 32 256]

``echo`` is Veneer over an engine without a model, so nearly all is HTTP and our own. ``coreless``
and ``vllm-coreless`` are Veneer and vLLM's own server over an engine core that computes nothing, at
the speed of whoever takes its tokens (``coreless.py``). ``Veneer`` and ``vLLM`` serve the two-layer
model: the engine is there, in processes of its own. Each number of streams runs ``--rounds``
times, and the least counts: the others were disturbed. Seconds of CPU are those of the API's
process, in which answers are read, written and ended. ``--profile FOLDER`` writes what py-spy,
which must be on the path, sees of the API while each runs, as stacks with counts.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import httpx
import psutil

from support import tiny
from support.serving import free_port
from veneer_server.bench.peers.peers import BASE, Name, Peer, Rig, peer
from veneer_server.bench.peers.running import Running, start

SEQUENCES = 256
LONGEST_S = 300
WARM_TOKENS = 16
REAL = {"Veneer": Name.VENEER, "vLLM": Name.PLAIN}
CORELESS = {"coreless": Name.VENEER, "vllm-coreless": Name.PLAIN}


@dataclass(frozen=True)
class Asked:
    """One load: so many streams at the same time, each of so many tokens."""

    path: str
    streams: int
    tokens: int

    def body(self, model: str) -> bytes:
        words = " ".join(f"word{n}" for n in range(self.tokens if model == "echo" else 16))
        said = (
            {"messages": [{"role": "user", "content": words}]}
            if self.path == "/v1/chat/completions"
            else {"prompt": words}
        )
        more = {} if model == "echo" else {"ignore_eos": True, "temperature": 0}
        body = {"model": model, "stream": True, "max_tokens": self.tokens, **said, **more}
        return json.dumps(body).encode()


class Client(asyncio.Protocol):
    """Sends one request; ``ended`` has the bytes of its answer and how many reads brought them."""

    def __init__(self, path: str, body: bytes) -> None:
        head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        self._sent = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
        self._last = b""
        self.first = b""
        self.events = 0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        transport.write(self._sent)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.first = self.first or data[:300]
        self.events += data.count(b"data: {")
        self._last = self._last[-8:] + data[-8:]
        if self._last.endswith(b"0\r\n\r\n"):
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


async def ask(port: int, asked: Asked, model: str) -> int:
    """Return how many events came, when all streams have ended."""
    loop, body = asyncio.get_running_loop(), asked.body(model)
    clients = []
    for _ in range(asked.streams):
        _, client = await loop.create_connection(
            lambda: Client(asked.path, body), "127.0.0.1", port
        )
        clients.append(client)
    async with asyncio.timeout(LONGEST_S):
        await asyncio.gather(*(client.ended for client in clients))
    bad = [client.first for client in clients if b" 200 " not in client.first[:20]]
    if bad:
        raise SystemExit(f"A request was refused: {bad[0].decode(errors='replace')}")
    return sum(client.events for client in clients)


@contextmanager
def profiled(running: Running, to: Path | None) -> Iterator[None]:
    """Let py-spy look at the API during the block, if there is a file to write."""
    if to is None:
        yield
        return
    command = ["py-spy", "record", "-r", "500", "-f", "raw", "-o", str(to), "-d", str(LONGEST_S)]
    watcher = subprocess.Popen([*command, "-p", str(running.pid)])
    try:
        time.sleep(1)  # it reads the symbols first
        yield
    finally:
        watcher.send_signal(2)
        watcher.wait(30)


def wait_for_workers(running: Running, count: int) -> None:
    """Return when all take connections; until then the server does the work of some.

    Raises:
        TimeoutError: they do not.
    """
    told, ends_s = f"veneer_workers {float(count)}\n", time.monotonic() + 120
    while count > 1 and told not in httpx.get(f"{running.url}/metrics").text:
        if time.monotonic() > ends_s:
            raise TimeoutError(f"{count} workers were not there after two minutes")
        time.sleep(0.2)


def workers_s(running: Running) -> float:
    """Return the seconds of CPU that the server's workers have used."""
    children = psutil.Process(running.pid).children()
    workers = [one for one in children if "veneer_server.workers.process" in one.cmdline()]
    return sum(sum(one.cpu_times()[:2]) for one in workers)


def measure(running: Running, asked: Asked, model: str, folder: Path | None) -> tuple[float, ...]:
    """Return microseconds of the API and of its workers a token, events a token, and tokens/s."""
    port = int(running.url.rpartition(":")[2])
    asyncio.run(ask(port, Asked(asked.path, asked.streams, WARM_TOKENS), model))
    to = folder and folder / f"{running.peer.name}-{asked.streams}.txt".replace(" ", "-")
    with profiled(running, to):
        before_s, helped_s = running.cpu_s(), workers_s(running)
        began_s = time.monotonic()
        events = asyncio.run(ask(port, asked, model))
        took_s = time.monotonic() - began_s
        used_s, helped_s = running.cpu_s() - before_s, workers_s(running) - helped_s
    tokens = asked.streams * asked.tokens
    return used_s * 1e6 / tokens, helped_s * 1e6 / tokens, events / tokens, tokens / took_s


def echo(rig: Rig, workers: int) -> Peer:
    """Return Veneer over the engine without a model."""
    made = peer(Name.VENEER, rig)
    command = [*made.command[:3], "serve", "--engine", "echo", "--port", str(rig.port)]
    environ = {"VENEER_MODEL__NAME": "echo", "VENEER_LIMITS__MAX_SEQS": str(SEQUENCES)}
    environ["VENEER_SERVER__WORKERS"] = str(workers)
    kept = {name: made.environ[name] for name in ("VENEER_STATE__DIR", "VENEER_ADAPTERS__DIR")}
    return Peer(Name.VENEER, command, {**kept, **environ}, made.ready_path)


def real(name: Name, rig: Rig) -> Peer:
    """Return a server of the two-layer model that runs every stream at once."""
    made = peer(name, rig)
    if name.is_ours:
        environ = {**made.environ, "VENEER_LIMITS__MAX_SEQS": str(SEQUENCES)}
        return Peer(name, made.command, environ, made.ready_path, made.must_log)
    command = list(made.command)
    command[command.index("--max-num-seqs") + 1] = str(SEQUENCES)
    return Peer(name, command, made.environ, made.ready_path, made.must_log)


def coreless(name: Name, rig: Rig, workers: int) -> Peer:
    """Return a server over a core that computes nothing."""
    program = str(Path(__file__).with_name("coreless.py"))
    kind = "veneer" if name.is_ours else "vllm"
    ready = "/readyz" if name.is_ours else "/health"
    environ = {} if name.is_ours else {"VLLM_PLUGINS": ""}
    command = [sys.executable, program, kind, str(rig.model), str(rig.port), str(workers)]
    return Peer(name, command, environ, ready)


def choose(server: str, rig: Rig, workers: int) -> Peer:
    """Return what ``server`` names."""
    if server == "echo":
        return echo(rig, workers)
    if server in CORELESS:
        return coreless(CORELESS[server], rig, workers)
    return real(REAL[server], rig)


def show(server: str, found: Running, asked: argparse.Namespace) -> None:
    model = "echo" if server == "echo" else BASE
    if server in ("echo", "coreless"):
        wait_for_workers(found, asked.workers)
    for streams in asked.streams:
        load = Asked(asked.path, streams, asked.tokens)
        rounds = [measure(found, load, model, asked.profile) for _ in range(asked.rounds)]
        us, helped, events, rate = min(rounds)
        cells = (server, streams, f"{us:.1f}", f"{helped:.1f}", f"{events:.2f}", f"{rate:.0f}")
        print("|", *(f"{cell} |" for cell in cells), flush=True)


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--servers", nargs="+", choices=["echo", *CORELESS, *REAL], default=["echo"]
    )
    parser.add_argument("--streams", nargs="+", type=int, default=[1, 32, 256])
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--path", default="/v1/chat/completions")
    parser.add_argument("--workers", type=int, default=1, help="server.workers of ours")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", type=Path, default=None)
    asked = parser.parse_args(given)
    print("| server | streams | us of CPU a token | its workers' | events a token | tok/s |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="streaming-") as folder:
        place = Path(folder)
        needs_model = {*asked.servers} - {"echo"}
        model = tiny.model(place / "model") if needs_model else place
        for server in asked.servers:
            rig = Rig(model, free_port(), place / "rig", sorted(os.sched_getaffinity(0)))
            with start(
                choose(server, rig, asked.workers), rig, os.environ, place / "log"
            ) as running:
                show(server, running, asked)


if __name__ == "__main__":
    main()
