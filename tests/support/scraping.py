"""A real Prometheus for tests: it scrapes a server and answers queries over HTTP."""

import asyncio
import re
import shutil
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from support.serving import Served, free_port

START_S = 30
"""Bound on Prometheus's own start and first scrape on a busy machine."""


def program(name: str) -> str:
    found = shutil.which(name)
    assert found is not None, f"{name} is missing: run scripts/services"
    return found


async def sample(client: httpx.AsyncClient, query: str) -> dict[str, dict[str, str]]:
    """Return the one series ``query`` finds, asking until there is one; the caller bounds it."""
    while True:
        answer = await client.get("/api/v1/query", params={"query": query})
        if found := answer.raise_for_status().json()["data"]["result"]:
            [series] = found
            return series


@asynccontextmanager
async def prometheus(
    served: Served, folder: Path, *, rules: Path | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """Run a Prometheus that scrapes ``served``, and evaluates ``rules``, every second.

    Yields a client of its HTTP API.
    """
    target = served.url.removeprefix("http://")
    config = folder / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
        f"rule_files: {[str(rules)] if rules else []}\n"
        "scrape_configs:\n"
        "  - job_name: veneer\n"
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
