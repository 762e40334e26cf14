"""What /metrics says of real requests: bounded, complete, readable by either Prometheus."""

from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from support import builders
from support.serving import Served, serve_echo, until_served
from veneer_adapters.errors import AdapterNotFound
from veneer_server.engine.base import Endpoint

MESSAGES = [{"role": "user", "content": "one two three"}]
SCRAPERS = {
    "Prometheus 2": "application/openmetrics-text;version=1.0.0,"
    "application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
    "Prometheus 3": "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;"
    "escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
    "curl": "*/*",
}


async def page(client: httpx.AsyncClient, accept: str = "*/*") -> str:
    return (await client.get("/metrics", headers={"accept": accept})).raise_for_status().text


def series(text: str) -> dict[str, list[dict[str, str]]]:
    """Return the labels of every sample of ours, by sample name."""
    found: dict[str, list[dict[str, str]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.startswith("veneer_"):
                found.setdefault(sample.name, []).append(sample.labels)
    return found


@pytest.mark.slow
async def test_ten_thousand_invented_names_add_one_series(echo: Served) -> None:
    assert echo.parts is not None
    async with httpx.AsyncClient(base_url=echo.url) as client:
        await client.post("/v1/chat/completions", json={"model": "x", "messages": MESSAGES})
        before = await page(client)
        for number in range(10_000):
            body = {"model": f"invented-{number}", "messages": MESSAGES}
            with pytest.raises(AdapterNotFound):
                await echo.parts.server.requests.respond(Endpoint.CHAT, body)
        for number in range(20):
            body = {"model": f"invented-{number}", "messages": MESSAGES}
            await client.post("/v1/chat/completions", json=body)
        after = await page(client)
    assert "invented" not in after
    assert {k: len(v) for k, v in series(after).items()} == {
        k: len(v) for k, v in series(before).items()
    }
    assert 'veneer_refusals_total{reason="model_not_found"} 21.0' in after


@pytest.mark.slow
async def test_five_hundred_served_adapters_have_two_hundred_values(tmp_path: Path) -> None:
    names = [f"a{index}" for index in range(500)]
    for index, name in enumerate(names):
        builders.write(tmp_path / "adapters" / name, seed=index)
    async with (
        serve_echo(tmp_path, adapters={"device_slots": 8, "host_slots": 16}) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        await until_served(served, *names)
        assert served.parts is not None
        for name in names:
            body = {"model": name, "messages": MESSAGES}
            await served.parts.server.requests.respond(Endpoint.CHAT, body)
        found = series(await page(client))
    values = {labels["adapter"] for labels in found["veneer_requests_total"]}
    assert len(values) == 200
    assert "__other__" in values
    assert sum(len(found[name]) for name in found if name.endswith("_bucket")) < 10_000


@pytest.mark.parametrize("scraper", SCRAPERS)
async def test_names_keep_their_colon_for_every_scraper(echo: Served, scraper: str) -> None:
    async with httpx.AsyncClient(base_url=echo.url) as client:
        await client.post("/v1/chat/completions", json={"model": "echo", "messages": MESSAGES})
        text = await page(client, SCRAPERS[scraper])
    assert "vllm:lora_requests_info{" in text
    assert "vllm_" not in text
    assert 'veneer_requests_total{adapter="echo"' in text


async def test_an_exemplar_names_the_request_that_is_in_the_log(echo: Served) -> None:
    async with httpx.AsyncClient(base_url=echo.url) as client:
        body = {"model": "echo", "messages": MESSAGES, "stream": True}
        headers = {"x-request-id": "findme"}
        await client.post("/v1/chat/completions", json=body, headers=headers)
        text = await page(client, SCRAPERS["Prometheus 3"])
    found = {line.partition("{")[0] for line in text.splitlines() if "findme" in line}
    kinds = ("time_to_first_token", "request_duration")
    assert found == {f"veneer_{kind}_seconds_bucket" for kind in kinds}


@pytest.mark.parametrize("stream", [True, False])
async def test_tokens_are_counted_whether_the_client_asked_for_usage_or_not(
    echo: Served, stream: bool
) -> None:
    async with httpx.AsyncClient(base_url=echo.url) as client:
        body = {"model": "echo", "messages": MESSAGES, "stream": stream}
        answer = await client.post("/v1/chat/completions", json=body)
        text = await page(client)
    assert ('"usage"' in answer.text) is not stream
    assert 'veneer_tokens_total{adapter="echo",direction="input"} 3.0' in text
    assert 'veneer_tokens_total{adapter="echo",direction="output"} 3.0' in text


async def test_a_request_the_engine_refuses_is_not_the_adapters_failure(echo: Served) -> None:
    async with httpx.AsyncClient(base_url=echo.url) as client:
        body = {"model": "echo", "messages": MESSAGES, "logprobs": True}
        assert (await client.post("/v1/chat/completions", json=body)).status_code == 400
        text = await page(client)
    [line] = [line for line in text.splitlines() if line.startswith("veneer_requests_total{")]
    assert 'outcome="rejected"' in line


async def test_the_engine_is_up_until_it_stops(echo: Served) -> None:
    assert echo.parts is not None
    async with httpx.AsyncClient(base_url=echo.url) as client:
        assert "veneer_engine_up 1.0" in await page(client)
        echo.parts.server.engine.stop()
        await client.get("/readyz")
        text = await page(client)
    assert "veneer_engine_up 0.0" in text
    assert "veneer_refusals_total{" not in text


async def test_what_is_loaded_is_told_under_the_names_clients_use(tmp_path: Path) -> None:
    builders.write(tmp_path / "adapters" / "mine")
    async with (
        serve_echo(tmp_path, adapters={"device_slots": 2, "host_slots": 4}) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        await until_served(served, "mine")
        await client.post("/v1/chat/completions", json={"model": "mine", "messages": MESSAGES})
        text = await page(client)
    [line] = [line for line in text.splitlines() if line.startswith("vllm:lora_requests_info{")]
    assert 'max_lora="2"' in line
    assert 'running_lora_adapters="mine"' in line
    assert 'waiting_lora_adapters=""' in line
