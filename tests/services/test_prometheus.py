"""Real Prometheus reads what we export: its linter passes it, its server stores it."""

import asyncio
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client import REGISTRY, Gauge

from support.scraping import START_S, program, prometheus, sample
from support.serving import Served

pytestmark = pytest.mark.services


async def request(served: Served, model: str = "echo") -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "hello there"}]}
    async with httpx.AsyncClient(base_url=served.url) as client:
        response = await client.post("/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text


async def test_promtool_finds_nothing_to_complain_about(echo: Served) -> None:
    await request(echo)
    async with httpx.AsyncClient(base_url=echo.url) as client:
        page = (await client.get("/metrics")).text
    # The names vLLM chose have colons, which the linter keeps for rules.
    page = "".join(line for line in page.splitlines(keepends=True) if "vllm:" not in line)
    assert "veneer_requests_total" in page
    async with asyncio.timeout(START_S):
        linter = await asyncio.create_subprocess_exec(
            program("promtool"), "check", "metrics", stdin=PIPE, stdout=PIPE, stderr=PIPE
        )
        out, complaints = await linter.communicate(page.encode())
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
