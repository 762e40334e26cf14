"""Two servers with a state folder each on one PostgreSQL: one catalog, and life without it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import URL, make_url

from support import builders
from support.serving import POLL_S, Served, serve_echo
from veneer_adapters.catalog.upkeep import REFRESH_S

pytestmark = pytest.mark.services

SEEN_S = REFRESH_S + 1.0
"""What one server changed is seen on the other: its next refresh, and one for the query."""
BACK_S = 30


class Server:
    """One of the two, and a client of it."""

    def __init__(self, served: Served, http: httpx.AsyncClient, sources: Path) -> None:
        self.served = served
        self.http = http
        self.sources = sources

    def source(self, seed: int) -> str:
        return str(builders.write(self.sources / ".incoming" / str(seed), seed=seed))

    async def ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        return await self.http.request(method, f"/v1/adapters{path}", json=body)

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        found = await self.ask(method, path, body)
        assert found.is_success, found.text
        return found.json()

    async def add(self, name: str, seed: int) -> Any:
        return await self.call("POST", "", {"name": name, "source": self.source(seed)})

    async def publish(self, name: str, seed: int) -> Any:
        return await self.call("POST", f"/{name}/revisions", {"source": self.source(seed)})

    async def answers(self, model: str) -> str:
        """Return the revision that answers ``model``, or the code that says why none does."""
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
        found = await self.http.post("/v1/chat/completions", json=body)
        if found.is_success:
            return found.headers["x-veneer-adapter"].partition("#")[0]
        return str(found.json()["error"]["code"])

    def stored(self) -> set[str]:
        return {p.name for p in (self.served.adapters.parent / "state/store/sha256").glob("*/*")}


Pair = tuple[Server, Server]


async def until(condition: Callable[[], Awaitable[bool]], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(POLL_S)


async def until_answered(server: Server, model: str, by: str, seconds: float = BACK_S) -> None:
    async def answered() -> bool:
        return await server.answers(model) == by

    await until(answered, seconds)


async def until_alias(server: Server, name: str, alias: str) -> None:
    async def there() -> bool:
        return (await server.ask("GET", f"/{name}/aliases/{alias}")).is_success

    await until(there, BACK_S)


@asynccontextmanager
async def pair_on(url: URL, folder: Path) -> AsyncIterator[Pair]:
    state = {"url": url.set(drivername="postgresql").render_as_string(hide_password=False)}
    sources = folder / "sources"
    sources.mkdir()
    shared = {"adapters": {"roots": [sources]}}
    async with (
        serve_echo(folder / "a", state=state | {"dir": folder / "a/state"}, **shared) as a,
        serve_echo(folder / "b", state=state | {"dir": folder / "b/state"}, **shared) as b,
        httpx.AsyncClient(base_url=a.url, timeout=BACK_S) as http_a,
        httpx.AsyncClient(base_url=b.url, timeout=BACK_S) as http_b,
    ):
        yield Server(a, http_a, sources), Server(b, http_b, sources)


@pytest_asyncio.fixture
async def pair(postgres_url: str, tmp_path: Path) -> AsyncIterator[Pair]:
    async with pair_on(make_url(postgres_url), tmp_path) as servers:
        yield servers


async def test_what_one_server_publishes_the_other_fetches_by_its_digest(pair: Pair) -> None:
    a, b = pair
    made = await a.add("mine", 1)
    assert made["live"] == 1
    await until_answered(b, "mine", "mine@1")
    assert a.stored() == b.stored() != set()
    [revision] = (await b.call("GET", "/mine/revisions"))["data"]
    assert b.stored() == {revision["digest"].removeprefix("sha256:")}


async def test_an_alias_moved_on_one_server_moves_on_the_other_within_a_refresh(pair: Pair) -> None:
    a, b = pair
    await a.add("mine", 1)
    await a.publish("mine", 2)
    await until_answered(b, "mine", "mine@2")
    await b.call("PUT", "/mine/aliases/live", {"revision": 1})
    assert await b.answers("mine") == "mine@1"
    await until_answered(a, "mine", "mine@1", SEEN_S)
    await a.call("DELETE", "/mine")
    await until_answered(b, "mine", "model_not_found", SEEN_S)


async def until_listed(server: Server, number: int) -> list[dict[str, Any]]:
    """Return the revisions of ``mine`` when the server has heard of so many, also of the other."""
    async with asyncio.timeout(20):
        while True:
            found: list[dict[str, Any]]
            found = (await server.call("GET", "/mine/revisions?limit=1000"))["data"]
            if len(found) >= number:
                return found
            await asyncio.sleep(POLL_S)


async def test_two_that_publish_at_once_never_give_one_number_twice(pair: Pair) -> None:
    a, b = pair
    await a.add("mine", 1)
    await until_answered(b, "mine", "mine@1")
    made = await asyncio.gather(
        *(server.publish("mine", seed) for seed, server in enumerate((a, b) * 6, start=2))
    )
    assert sorted(revision["number"] for revision in made) == list(range(2, 14))
    told = await until_listed(a, len(made) + 1)
    digests = {r["number"]: r["digest"] for r in told}
    assert all(digests[r["number"]] == r["digest"] for r in made)
    history = (await a.call("GET", "/mine/aliases/live/history"))["data"]
    # One that came while another waited for its proof took its place: it moved nothing.
    assert [move["version"] for move in history] == list(range(len(history), 0, -1))
    assert history[0]["targets"][0]["revision"] == 13


async def test_two_that_add_one_name_at_once_agree_on_the_first(pair: Pair) -> None:
    bodies = [{"name": "mine", "source": server.source(seed)} for seed, server in enumerate(pair)]
    found = await asyncio.gather(
        *(s.ask("POST", "", body) for s, body in zip(pair, bodies, strict=True))
    )
    assert sorted(answer.status_code for answer in found) == [201, 409]


async def test_what_one_server_cannot_fetch_goes_on_serving_on_the_other(
    pair: Pair, tmp_path: Path
) -> None:
    a, b = pair
    own = builders.write(a.served.adapters / ".incoming" / "own", seed=7)
    await a.call("POST", "", {"name": "own", "source": str(own)})
    assert await a.answers("own") == "own@1"

    async def failed() -> bool:
        return await b.answers("own") not in ("own@1", "model_not_found")

    await until(failed, BACK_S)
    assert await b.answers("own") == "adapter_failed"
    await a.call("POST", "", {"name": "later", "source": a.source(8)})
    await until_answered(b, "later", "later@1")
    await b.call("PUT", "/later/aliases/seen", {"revision": 1})
    await until_alias(a, "later", "seen")
    assert await a.answers("own") == "own@1"
    assert (await a.call("GET", "/own/revisions"))["data"][0]["state"] == "ready"


class Cable:
    """Carries bytes to a database, until it is cut or goes dead."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open = asyncio.Event()
        self._open.set()
        self._cut = False
        self._tasks: set[asyncio.Task[Any]] = set()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            if self._cut:
                return
            there, back = await asyncio.open_connection("127.0.0.1", self._port)
            with closing(back):
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._pump(reader, back))
                    both.create_task(self._pump(there, writer))
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            await self._open.wait()
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError

    def cut(self) -> None:
        """End every connection and refuse new ones."""
        self._cut = True
        for task in self._tasks:
            task.cancel()

    def die(self) -> None:
        """Swallow what is sent, say nothing."""
        self._open.clear()

    def mend(self) -> None:
        self._cut = False
        self._open.set()


@asynccontextmanager
async def cable_to(url: URL) -> AsyncIterator[tuple[Cable, URL]]:
    """Yield a cable, and the database as it is found at its other end."""
    assert url.port is not None
    cable = Cable(url.port)
    server = await asyncio.start_server(cable.carry, "127.0.0.1", 0)
    try:
        yield cable, url.set(port=server.sockets[0].getsockname()[1])
    finally:
        cable.mend()
        server.close()
        cable.cut()


@pytest.mark.timeout(240)
@pytest.mark.parametrize("how", ["cut", "die"])
async def test_without_its_database_a_server_serves_on_and_changes_nothing_until_it_is_back(
    postgres_url: str, tmp_path: Path, how: str
) -> None:
    async with (
        cable_to(make_url(postgres_url)) as (cable, url),
        pair_on(url, tmp_path) as (a, b),
    ):
        await a.add("mine", 1)
        await a.publish("mine", 2)
        await until_answered(b, "mine", "mine@2")
        getattr(cable, how)()
        changes = (
            ("PUT", "/mine/aliases/live", {"revision": 1}),
            ("DELETE", "/mine", None),
        )
        for change in changes:
            found = await a.ask(*change)
            assert found.status_code == 503, found.text
            assert found.json()["error"]["code"] in ("adapter_unavailable", "state_busy")
            assert found.headers["retry-after"]
            assert [await s.answers("mine") for s in (a, b)] == ["mine@2", "mine@2"]
            assert (await a.call("GET", "/mine"))["live"] == 2
        cable.mend()

        async def moved() -> bool:
            return (await a.ask("PUT", "/mine/aliases/live", {"revision": 1})).is_success

        await until(moved, BACK_S)
        await until_answered(b, "mine", "mine@1")
        assert [x["name"] for x in (await b.call("GET", ""))["data"]] == ["mine"]
