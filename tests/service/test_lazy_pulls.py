"""Adapters fetched by their first request, from a real web server and a real S3, end to end."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from support import builders, clients
from support.serving import logging_to_stderr, serve_echo
from support.websites import Web, website
from veneer_adapters.artifact.files import FILES
from veneer_server.engine.echo import EchoEngine

pytestmark = pytest.mark.slow  # each waits a second or more

MANY = 200
NEAR_S = 60
"""Bound on what 200 requests at once take on a busy machine."""


class Counting(EchoEngine):
    """Counts its loads."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: Counter[str] = Counter()

    async def load_adapter(self, engine_id: int, engine_name: str, path: Path) -> None:
        self.loads[engine_name.partition("@")[0]] += 1
        await super().load_adapter(engine_id, engine_name, path)


@dataclass
class Pulled:
    """A server that pulls, and how often its engine loaded each adapter."""

    http: httpx.AsyncClient
    loads: Counter[str]

    async def chat(self, model: str) -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
        return await self.http.post("/v1/chat/completions", json=body)


@asynccontextmanager
async def pulling(folder: Path, **sources: Any) -> AsyncIterator[Pulled]:
    engine = Counting()
    limits = httpx.Limits(max_connections=MANY)
    with logging_to_stderr("json"):
        async with (
            serve_echo(folder, engine, sources=sources) as served,
            httpx.AsyncClient(base_url=served.url, timeout=NEAR_S, limits=limits) as http,
        ):
            yield Pulled(http, engine.loads)


def told(found: httpx.Response) -> tuple[int, str]:
    return found.status_code, found.json()["error"]["code"]


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[Web]:
    async with website(tmp_path) as web:
        yield web


async def test_two_hundred_first_requests_are_one_fetch_and_one_load(
    tmp_path: Path, web: Web
) -> None:
    async with pulling(tmp_path, **web.settings) as server:
        found = await asyncio.gather(*(server.chat("x") for _ in range(MANY)))
        assert {answer.status_code for answer in found} == {200}
        assert len({answer.headers["x-veneer-adapter"] for answer in found}) == 1
        assert sorted(web.seen.paths) == sorted(f"/adapters/x/{name}" for name in FILES)
        assert server.loads == {"x": 1}


async def test_a_name_nobody_has_is_404_and_asked_for_once_in_a_while(
    tmp_path: Path, web: Web
) -> None:
    async with pulling(tmp_path, **web.settings) as server:
        for _ in range(3):
            found = await asyncio.gather(*(server.chat("nobody") for _ in range(20)))
            assert {told(answer) for answer in found} == {(404, "model_not_found")}
        assert len(web.seen.paths) <= len(FILES)
        assert (await server.http.get("/v1/adapters")).json()["data"] == []
        assert server.loads == {}


async def test_a_source_that_is_down_is_503_and_what_was_fetched_serves_on(
    tmp_path: Path, web: Web
) -> None:
    async with pulling(tmp_path, **web.settings) as server:
        assert (await server.chat("x")).status_code == 200
        web.site.down = True
        found = await asyncio.gather(*(server.chat("later") for _ in range(20)))
        assert {told(answer) for answer in found} == {(503, "adapter_source_unavailable")}
        assert all(int(answer.headers["retry-after"]) > 0 for answer in found)
        assert (await server.chat("x")).status_code == 200
    async with pulling(tmp_path, **web.settings) as server:
        assert (await server.chat("x")).headers["x-veneer-adapter"].startswith("x@1#")
    assert list((tmp_path / "state" / "store" / "tmp").iterdir()) == []


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A bucket that holds ``adapters/x``; its server ends with the test, or before."""
    from moto.server import ThreadedMotoServer

    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    variables = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "some-id",
        "AWS_SECRET_ACCESS_KEY": "some-secret",
        "AWS_REGION": "us-east-1",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    client = clients.boto3.client("s3", endpoint_url=variables["AWS_ENDPOINT_URL"])
    client.create_bucket(Bucket="bucket")
    made = builders.write(tmp_path / "made", seed=1)
    for name in FILES:
        client.put_object(
            Bucket="bucket", Key=f"adapters/x/{name}", Body=(made / name).read_bytes()
        )
    client.close()
    yield running
    running.stop()


async def test_an_object_store_is_pulled_from_once_and_not_needed_afterwards(
    tmp_path: Path, bucket: Any
) -> None:
    sources = {
        "buckets": ["s3://bucket/adapters"],
        "pull": ["s3://bucket/adapters/{name}"],
        "timeout_s": 3.0,
    }
    async with pulling(tmp_path, **sources) as server:
        found = await asyncio.gather(*(server.chat("x") for _ in range(50)))
        assert {answer.status_code for answer in found} == {200}
        assert server.loads == {"x": 1}
        assert told(await server.chat("nobody")) == (404, "model_not_found")
        await asyncio.to_thread(bucket.stop)
        assert told(await server.chat("later")) == (503, "adapter_source_unavailable")
        assert (await server.chat("x")).status_code == 200
        told_of = (await server.http.get("/v1/adapters/x/revisions")).json()["data"]
        assert [r["source"]["kind"] for r in told_of] == ["s3"]
