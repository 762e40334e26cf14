"""Real Prometheus reads what we export: its linter passes it, its server stores it."""

import asyncio
import re
import shutil
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from prometheus_client import REGISTRY, Gauge

from serving import Served, free_port

pytestmark = pytest.mark.services

START_S = 30
"""Bound on Prometheus's own start and first scrape on a busy machine."""


def program(name: str) -> str:
    found = shutil.which(name)
    assert found is not None, f"{name} is missing: run scripts/services"
    return found


async def request(served: Served, model: str = "echo") -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "hello there"}]}
    async with httpx.AsyncClient(base_url=served.url) as client:
        response = await client.post("/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text


async def test_promtool_finds_nothing_to_complain_about(echo: Served) -> None:
    await request(echo)
    async with httpx.AsyncClient(base_url=echo.url) as client:
        page = (await client.get("/metrics")).content
    assert b"veneer_requests_total" in page
    async with asyncio.timeout(START_S):
        linter = await asyncio.create_subprocess_exec(
            program("promtool"), "check", "metrics", stdin=PIPE, stdout=PIPE, stderr=PIPE
        )
        out, complaints = await linter.communicate(page)
    assert linter.returncode == 0, (out + complaints).decode()
    assert complaints == b""


@pytest.fixture
def vllms_gauge() -> Iterator[str]:
    """A metric as vLLM declares its own: in the global registry, with a colon in its name."""
    gauge = Gauge("vllm:num_requests_running", "Requests in a batch.", registry=REGISTRY)
    gauge.set(7)
    yield "vllm:num_requests_running"
    REGISTRY.unregister(gauge)


async def test_prometheus_stores_our_counts_and_vllms_names(
    echo: Served, vllms_gauge: str, tmp_path: Path
) -> None:
    await request(echo)
    async with asyncio.timeout(START_S), prometheus(echo, tmp_path) as client:
        ours = await sample(client, 'veneer_requests_total{job="veneer",outcome="completed"}')
        theirs = await sample(client, vllms_gauge)
    assert ours["metric"]["adapter"] == "echo"
    assert ours["metric"]["endpoint"] == "chat"
    assert ours["value"][1] == "1"
    assert theirs["value"][1] == "7"


async def sample(client: httpx.AsyncClient, query: str) -> dict[str, dict[str, str]]:
    """Return the one series ``query`` finds, asking until there is one; the caller bounds it."""
    while True:
        answer = await client.get("/api/v1/query", params={"query": query})
        if found := answer.raise_for_status().json()["data"]["result"]:
            [series] = found
            return series


@asynccontextmanager
async def prometheus(served: Served, folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Run a Prometheus that scrapes ``served``; yields a client of its HTTP API."""
    target = served.url.removeprefix("http://")
    config = folder / "prometheus.yml"
    config.write_text(
        "scrape_configs:\n"
        "  - job_name: veneer\n"
        "    scrape_interval: 1s\n"
        f'    static_configs: [{{targets: ["{target}"]}}]\n'
    )
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        program("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
        stderr=PIPE,
    )
    try:
        await ready(process)
        async with (
            draining(process),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
        ):
            yield client
    finally:
        process.terminate()
        await process.wait()


async def ready(process: Process) -> None:
    assert process.stderr is not None
    seen = []
    async for line in process.stderr:
        seen.append(line.decode())
        if re.search(r"ready to receive web requests", seen[-1]):
            return
    raise AssertionError("Prometheus did not start:\n" + "".join(seen[-10:]))


@asynccontextmanager
async def draining(process: Process) -> AsyncIterator[None]:
    """Read on, so that Prometheus never blocks on a full pipe."""
    assert process.stderr is not None
    reading = asyncio.create_task(process.stderr.read())
    try:
        yield
    finally:
        reading.cancel()
        await asyncio.wait([reading])
