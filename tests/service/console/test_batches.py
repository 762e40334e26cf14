"""Batches in the console."""

import asyncio
import json
from pathlib import Path

import httpx
import pytest

from support.batching import Gated, create, ended, line, slow
from support.console import browser
from support.serving import Served, serve_echo
from veneer_server.batches.answering import ENDPOINTS

XSS = "<img src=x onerror=alert(1)>"


async def test_a_batch_is_shown_with_its_counts_and_its_answers(echo: Served) -> None:
    async with browser(echo.url) as client:
        assert "There is no batch yet" in (await client.get("/console/batches")).text
        lines = [line(1), line(2), line(3, model=XSS)]
        batch = await ended(client, (await create(client, lines))["id"])
        listed = (await client.get("/console/batches")).text
        assert batch["id"] in listed
        page = (await client.get(f"/console/batches/{batch['id']}")).text
        for text in (listed, page):
            assert "<img" not in text
            assert batch["status"] in text
        for kind in ("output_file_id", "error_file_id"):
            if kind in batch:
                assert f"/console/files/{batch[kind]}" in page


async def test_the_answers_are_the_bytes_of_the_api(echo: Served) -> None:
    async with browser(echo.url) as client:
        batch = await ended(client, (await create(client, [line(1), line(2)]))["id"])
        here = await client.get(f"/console/files/{batch['output_file_id']}")
        there = await client.get(f"/v1/files/{batch['output_file_id']}/content")
    assert here.content == there.content
    assert len([json.loads(one) for one in here.text.splitlines()]) == 2
    assert here.headers["x-content-type-options"] == "nosniff"


async def test_wrong_lines_are_listed(echo: Served) -> None:
    async with browser(echo.url) as client:
        batch = await ended(client, (await create(client, ["no JSON " + XSS]))["id"])
        assert batch["status"] == "failed"
        page = (await client.get(f"/console/batches/{batch['id']}")).text
    assert "Why it failed" in page
    assert "<img" not in page


async def test_a_batch_that_has_ended_cannot_be_cancelled_and_an_unknown_one_is_unknown(
    echo: Served,
) -> None:
    async with browser(echo.url) as client:
        batch = await ended(client, (await create(client, [line(1)]))["id"])
        assert (await cancel(client, batch["id"])).status_code == 400
        assert (await cancel(client, XSS)).status_code == 404
        for path in ("batches", "files", "training"):
            assert (await client.get(f"/console/{path}/nothing")).status_code == 404


async def test_a_batch_is_cancelled_by_its_form(tmp_path: Path) -> None:
    engine = Gated()
    async with serve_echo(tmp_path, engine) as served, browser(served.url) as client:
        batch = await create(client, [slow(1), slow(2)])
        async with asyncio.timeout(20):
            await engine.begun.wait()
        page = (await client.get(f"/console/batches/{batch['id']}")).text
        assert "Let this batch end" in page
        done = await cancel(client, batch["id"])
        assert done.headers["location"] == f"/console/batches/{batch['id']}"
        assert "cancelling" in (await client.get(done.headers["location"])).text
        engine.go.set()
        assert (await ended(client, batch["id"]))["status"] in ("cancelled", "completed")


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_a_form_with_a_file_starts_a_batch(echo: Served, endpoint: str) -> None:
    asked = {"prompt": "hi"} if endpoint == "/v1/completions" else {}
    said = {"input": "hi"} if endpoint == "/v1/responses" else asked
    one = {**line(1, url=endpoint)}
    if said:
        one["body"] = {"model": one["body"]["model"], **said}
    async with browser(echo.url) as client:
        form = (await client.get("/console/batches")).text
        assert f"<option>{endpoint}</option>" in form
        begun = await start(client, json.dumps(one), endpoint)
        assert begun.status_code == 303, begun.text
        batch = await ended(client, begun.headers["location"].rpartition("/")[2])
        assert (batch["status"], batch["endpoint"]) == ("completed", endpoint)
        assert batch["request_counts"]["completed"] == 1


async def test_without_a_batch_its_file_is_not_kept_either(echo: Served) -> None:
    async with browser(echo.url) as client:
        for endpoint in (XSS, "", None):
            refused = await start(client, json.dumps(line(1)), endpoint)
            assert refused.status_code == 400
            assert "<img" not in refused.text
        assert (await start(client, "", ENDPOINTS[0])).status_code == 400
        assert (await client.get("/v1/files")).json()["data"] == []
        assert (await client.get("/v1/batches")).json()["data"] == []


async def start(client: httpx.AsyncClient, lines: str, endpoint: str | None) -> httpx.Response:
    form = {} if endpoint is None else {"endpoint": endpoint}
    files = {"file": ("lines.jsonl", lines.encode())}
    return await client.post("/console/batches/start", data=form, files=files)


async def cancel(client: httpx.AsyncClient, batch_id: str) -> httpx.Response:
    return await client.post("/console/batches/cancel", data={"batch": batch_id})
