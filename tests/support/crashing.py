"""Servers that die at a chosen step, forked from one warm process so that hundreds are affordable.

Each fork is the whole server on the echo engine, asked over HTTP, and SIGKILL is a real one. Run
as a program it forks a server for each line of JSON it reads and writes a line when that ended.
"""

import asyncio
import gc
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

import httpx

from support import builders
from support.beginning import prepare_tables
from support.places import TESTS
from support.serving import POLL_S, Served, serve_echo
from veneer_adapters import faults
from veneer_server.telemetry import logs

MANY = 10**6
"""More often than any operation passes a point: such a fault only counts."""
NEAR_S = 20
LONGEST_S = 60
"""A server that takes longer is ended by its own alarm."""


class Client:
    """Talks to one server; ``sources`` is a root too deep for its watcher to see into."""

    def __init__(self, http: httpx.AsyncClient, sources: Path) -> None:
        self.http = http
        self.sources = sources

    def source(self, seed: int) -> str:
        path = self.sources / ".incoming" / str(seed)
        return str(path if path.exists() else builders.write(path, seed=seed))

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        found = await self.http.request(method, f"/v1/adapters{path}", json=body)
        assert found.is_success, found.text
        return found.json()

    async def chat(self, model: str) -> dict[str, Any]:
        body = {"model": model, "user": "u", "messages": [{"role": "user", "content": "hi"}]}
        found = await self.http.post("/v1/chat/completions", json=body)
        said = found.json()
        text = said["choices"][0]["message"]["content"] if found.is_success else said["error"]
        return {"by": found.headers.get("x-veneer-adapter"), "said": text}


async def prepare(client: Client) -> None:
    """Make what every operation begins with: two revisions, two aliases, a history."""
    await client.call("POST", "", {"name": "mine", "source": client.source(1)})
    await client.call("PUT", "/mine/aliases/stable", {"revision": 1})
    await client.call("POST", "/mine/revisions", {"source": client.source(2)})


async def add(client: Client) -> None:
    await client.call("POST", "", {"name": "new", "source": client.source(3)})


async def add_pinned(client: Client) -> None:
    await client.call("POST", "", {"name": "new", "source": client.source(3), "pinned": True})


async def publish(client: Client) -> None:
    await client.call("POST", "/mine/revisions", {"source": client.source(3)})


async def publish_beside(client: Client) -> None:
    body = {"source": client.source(3), "alias": "canary"}
    await client.call("POST", "/mine/revisions", body)


async def move(client: Client) -> None:
    await client.call("PUT", "/mine/aliases/live", {"revision": 1})


async def split(client: Client) -> None:
    targets = [{"revision": 1, "weight": 1}, {"revision": 2, "weight": 9}]
    await client.call("PUT", "/mine/aliases/live", {"targets": targets, "sticky": "user"})


async def roll_back(client: Client) -> None:
    await client.call("POST", "/mine/aliases/live/rollback")


async def remove_alias(client: Client) -> None:
    await client.call("DELETE", "/mine/aliases/stable")


async def pin(client: Client) -> None:
    await client.call("PATCH", "/mine", {"pinned": True})


async def remove(client: Client) -> None:
    await client.call("DELETE", "/mine")


ASKED: dict[str, Callable[[Client], Awaitable[None]]] = {
    act.__name__: act
    for act in (
        *(add, add_pinned, publish, publish_beside, move, split),
        *(roll_back, remove_alias, pin, remove),
    )
}
"""What is asked of a running server. When it returns, the server has acknowledged it."""


def folder_appears(adapters: Path) -> None:
    builders.write(adapters / "appeared", seed=4)


def folder_changes(adapters: Path) -> None:
    builders.write(adapters / "dropped", seed=5)


def folder_goes(adapters: Path) -> None:
    shutil.rmtree(adapters / "dropped")


FOUND: dict[str, Callable[[Path], None]] = {
    act.__name__: act for act in (folder_appears, folder_changes, folder_goes)
}
"""What is done to a watched folder while no server runs; the next one finds it when it starts."""


async def settled(served: Served) -> None:
    """Return when nothing waits to be finished."""
    assert served.parts is not None
    async with asyncio.timeout(NEAR_S):
        while served.parts.catalog.waiting():
            await asyncio.sleep(POLL_S)


async def look(served: Served, client: Client) -> dict[str, Any]:
    """Return all that clients can see, first at once and then when it has settled."""
    at_once = await client.chat("mine")
    await settled(served)
    names = [a["name"] for a in (await client.call("GET", ""))["data"]]
    listed = (await client.http.get("/v1/models")).json()["data"]
    seen: dict[str, Any] = {"models": [{**card, "created": 0} for card in listed]}
    for name in names:
        seen[name] = await _look_at(name, client)
    return {"at_once": at_once, "seen": _timeless(seen)}


async def _look_at(name: str, client: Client) -> dict[str, Any]:
    numbers = [r["number"] for r in (await client.call("GET", f"/{name}/revisions"))["data"]]
    # First the chats: they prove what a folder brought and nobody had asked for yet.
    models = [name, *(f"{name}@{number}" for number in numbers)]
    chats = {model: await client.chat(model) for model in models}
    adapter = await client.call("GET", f"/{name}")
    revisions = (await client.call("GET", f"/{name}/revisions"))["data"]
    serving = {r["number"] for r in revisions if r["state"] == "ready"}
    for alias in adapter["aliases"].values():
        assert {target["revision"] for target in alias["targets"]} <= serving, "an alias dangles"
    history = {
        alias: (await client.call("GET", f"/{name}/aliases/{alias}/history"))["data"]
        for alias in adapter["aliases"]
    }
    return {"chats": chats, "adapter": adapter, "revisions": revisions, "history": history}


def _timeless(seen: Any) -> Any:
    if isinstance(seen, dict):
        timeless = {k: _timeless(v) for k, v in seen.items() if k not in ("created", "since")}
        if timeless.get("state") in ("loading", "resident"):
            timeless["state"] = "ready"
        return timeless
    return [_timeless(each) for each in seen] if isinstance(seen, list) else seen


async def run(folder: Path, sources: Path, wanted: str, fault: str | None) -> None:
    """Serve what ``folder`` holds, do what is ``wanted``, tell what came of it, and end."""
    specs = [fault] if fault else [f"{point}:{MANY}:kill" for point in faults.POINTS]
    if wanted in FOUND:
        _arm(specs)
    async with (
        serve_echo(folder, adapters={"roots": [sources]}) as served,
        httpx.AsyncClient(base_url=served.url, timeout=NEAR_S) as http,
    ):
        client = Client(http, sources)
        if wanted == "prepare":
            await prepare(client)
            return
        if wanted == "look":
            _end(await look(served, client), folder)
        await settled(served)
        if wanted in ASKED:
            _arm(specs)
            await ASKED[wanted](client)
        _end(faults.disarm(), folder)


def _arm(specs: Iterable[str]) -> None:
    for spec in specs:
        faults.arm(spec)


def _end(told: dict[str, Any], folder: Path) -> NoReturn:
    # As kill -9 would: what was acknowledged must not depend on an orderly end.
    print(json.dumps(told).replace(str(folder), "<folder>"), flush=True)
    os._exit(0)


@dataclass(frozen=True)
class Ended:
    """How one server ended."""

    code: int
    told: dict[str, Any] | None
    """None when it died before it had anything to tell."""


class Forks:
    """One warm process; each ``run`` is a server of its own, one after the other."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def run(self, folder: Path, sources: Path, wanted: str, fault: str | None = None) -> Ended:
        """Serve what ``folder`` holds until ``wanted`` is done, or ``fault`` has happened."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = [str(folder), str(sources), wanted, fault]
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return Ended(**json.loads(self._process.stdout.readline()))


@contextmanager
def forks() -> Iterator[Forks]:
    """Start a warm process and end it with the block."""
    with subprocess.Popen(
        [sys.executable, "-m", __name__],
        cwd=TESTS,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # a fork has one thread
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Forks(process)
        finally:
            process.kill()


def _fork(folder: str, sources: str, wanted: str, fault: str | None) -> Ended:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(LONGEST_S)
        os.dup2(writing, sys.stdout.fileno())
        log = os.open(Path(folder) / "server.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, sys.stderr.fileno())
        os.close(reading)
        os.close(writing)
        logs.configure("info", "json")
        asyncio.run(run(Path(folder), Path(sources), wanted, fault))
        _end({}, Path(folder))
    os.close(writing)
    with os.fdopen(reading) as answers:
        text = answers.read()
    _, status = os.waitpid(child, 0)
    return Ended(os.waitstatus_to_exitcode(status), json.loads(text) if text else None)


def _warm_up() -> None:
    """Import, make and compile what every fork would; nothing of it holds a thread or a file."""
    for module in ("anyio._backends._asyncio", "httpcore", "uvicorn.lifespan.off"):
        importlib.import_module(module)
    asyncio.run(prepare_tables())
    gc.collect()
    gc.freeze()  # a collection in a fork would copy all of it


if __name__ == "__main__":
    _warm_up()
    for line in sys.stdin:
        print(json.dumps(asdict(_fork(*json.loads(line)))), flush=True)
