"""Stored content that is damaged, lost or too much, and sources that go: what clients see."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from support import builders
from support.serving import POLL_S, Served, logging_to_stderr, serve_echo
from veneer_adapters.artifact.files import WEIGHTS_FILE
from veneer_server.engine.base import Answer, Call, Frames
from veneer_server.engine.echo import EchoEngine

NEAR_S = 30
TOO_LITTLE_FOR_THREE = 2.5


class Client:
    """Publishes from a folder outside the state, and asks."""

    def __init__(self, served: Served, http: httpx.AsyncClient, sources: Path) -> None:
        self.served = served
        self.http = http
        self.sources = sources

    def source(self, seed: int) -> Path:
        return builders.write(self.sources / ".incoming" / str(seed), seed=seed)

    async def ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        return await self.http.request(method, f"/v1/adapters{path}", json=body)

    async def add(self, name: str, seed: int) -> httpx.Response:
        return await self.ask("POST", "", {"name": name, "source": str(self.source(seed))})

    async def publish(self, name: str, seed: int) -> httpx.Response:
        return await self.ask("POST", f"/{name}/revisions", {"source": str(self.source(seed))})

    async def answers(self, model: str) -> str:
        """Return the revision that answers ``model``, or the code that says why none does."""
        found = await self.http.post("/v1/chat/completions", json=hello(model))
        if found.is_success:
            by = found.headers["x-veneer-adapter"]
            assert f"[{model.partition('@')[0]}@sha256:" in found.text
            return by.partition("#")[0]
        return str(found.json()["error"]["code"])


def hello(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "one two"}], **more}


@asynccontextmanager
async def client_of(
    folder: Path, engine: EchoEngine | None = None, **adapters: Any
) -> AsyncIterator[Client]:
    sources = folder / "sources"
    sources.mkdir(exist_ok=True)
    with logging_to_stderr("json"):
        async with (
            serve_echo(folder, engine, adapters={"roots": [sources], **adapters}) as served,
            httpx.AsyncClient(base_url=served.url, timeout=NEAR_S) as http,
        ):
            yield Client(served, http, sources)


def contents(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in (folder / "state/store/sha256").glob("*/*")}


def flip_a_byte(content: Path) -> None:
    weights = content / WEIGHTS_FILE
    spoiled = bytearray(weights.read_bytes())
    spoiled[-1] ^= 1
    weights.chmod(0o644)
    weights.write_bytes(spoiled)


async def test_content_damaged_while_the_server_was_down_is_restored_by_the_first_request(
    tmp_path: Path,
) -> None:
    async with client_of(tmp_path) as client:
        await client.add("mine", 1)
    [(digest, content)] = contents(tmp_path).items()
    good = (content / WEIGHTS_FILE).read_bytes()
    flip_a_byte(content)
    async with client_of(tmp_path) as client:
        assert await client.answers("mine") == "mine@1"
        assert list(contents(tmp_path)) == [digest]
        assert (content / WEIGHTS_FILE).read_bytes() == good


@pytest.mark.slow
async def test_content_damaged_for_good_fails_its_revision_only_and_can_be_rolled_back(
    tmp_path: Path,
) -> None:
    async with client_of(tmp_path) as client:
        await client.add("other", 9)
        await client.add("mine", 1)
        before = set(contents(tmp_path))
        await client.publish("mine", 2)
    [damaged] = set(contents(tmp_path)) - before
    flip_a_byte(contents(tmp_path)[damaged])
    shutil.rmtree(tmp_path / "sources" / ".incoming" / "2")
    async with client_of(tmp_path) as client:
        assert await client.answers("mine") == "adapter_failed"
        [second, first] = (await client.ask("GET", "/mine/revisions")).json()["data"]
        assert (second["state"], second["reason"]) == ("failed", "content_lost")
        assert first["state"] == "ready"
        assert await client.answers("other") == "other@1"
        assert await client.answers("mine@1") == "mine@1"
        assert damaged not in contents(tmp_path)
        assert (await client.ask("POST", "/mine/aliases/live/rollback")).status_code == 200
        assert await client.answers("mine") == "mine@1"
        assert (await client.publish("mine", 2)).json()["number"] == 2
        assert await client.answers("mine") == "mine@2"


@pytest.mark.slow
async def test_a_source_that_is_overwritten_or_deleted_changes_no_answer(tmp_path: Path) -> None:
    slots = {"device_slots": 1, "host_slots": 2}
    async with client_of(tmp_path, **slots) as client:
        await client.add("mine", 1)
        await client.add("other", 2)
        said = await client.http.post("/v1/chat/completions", json=hello("mine"))
        source = tmp_path / "sources" / ".incoming" / "1"
        for spoil in (lambda: builders.write(source, seed=5), lambda: shutil.rmtree(source)):
            spoil()
            assert await client.answers("other") == "other@1"  # and out goes mine
            again = await client.http.post("/v1/chat/completions", json=hello("mine"))
            assert again.headers["x-veneer-adapter"] == said.headers["x-veneer-adapter"]
            assert again.json()["choices"] == said.json()["choices"]
    async with client_of(tmp_path) as client:
        assert await client.answers("mine") == "mine@1"


class Halting(EchoEngine):
    """Halts every stream after its first frame until it is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()

    async def respond(self, call: Call) -> Answer | Frames:
        answer = await super().respond(call)
        return answer if isinstance(answer, Answer) else self._halt(answer)

    async def _halt(self, frames: Frames) -> Frames:
        async for frame in frames:
            yield frame
            await self.go_on.wait()


async def test_a_stream_of_an_adapter_that_is_removed_meanwhile_is_completed(
    tmp_path: Path,
) -> None:
    engine = Halting()
    async with client_of(tmp_path, engine) as client:
        await client.add("mine", 1)
        asked = hello("mine", stream=True)
        stream = client.http.stream("POST", "/v1/chat/completions", json=asked)
        async with asyncio.timeout(NEAR_S), stream as found:
            lines = found.aiter_lines()
            first = await anext(lines)
            assert (await client.ask("DELETE", "/mine")).status_code == 200
            assert await client.answers("mine") == "model_not_found"
            assert client.served.parts is not None
            assert client.served.parts.residency.digests() == set(contents(tmp_path))
            engine.go_on.set()
            rest = [line async for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        frames = [json.loads(line[6:]) for line in [first, *rest[:-1]]]
        text = "".join(f["choices"][0]["delta"].get("content", "") for f in frames)
        assert text.startswith("[mine@sha256:")
        assert text.endswith("] one two")
        async with asyncio.timeout(NEAR_S):
            while client.served.parts.residency.digests():
                await asyncio.sleep(POLL_S)


@pytest.mark.slow
async def test_with_a_full_quota_only_what_nobody_needs_makes_room(tmp_path: Path) -> None:
    sample = builders.write(tmp_path / "sample")
    size = sum(file.stat().st_size for file in sample.iterdir())
    async with client_of(tmp_path, quota_gib=TOO_LITTLE_FOR_THREE * size / 2**30) as client:
        assert (await client.add("a", 1)).status_code == 201
        assert (await client.add("b", 2)).status_code == 201
        needed = set(contents(tmp_path))
        for found in (await client.add("c", 3), await client.publish("a", 4)):
            assert (found.status_code, found.json()["error"]["code"]) == (507, "cache_full")
        assert set(contents(tmp_path)) == needed
        assert [await client.answers(name) for name in "abc"] == ["a@1", "b@1", "model_not_found"]
        await client.ask("DELETE", "/a")
        async with asyncio.timeout(NEAR_S):
            while (await client.add("c", 3)).status_code != 201:
                await asyncio.sleep(POLL_S)
        assert len(contents(tmp_path)) == 2
        assert [await client.answers(name) for name in "abc"] == ["model_not_found", "b@1", "c@1"]
