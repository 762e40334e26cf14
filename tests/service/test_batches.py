"""``/v1/batches`` over HTTP on the echo engine: answered, refused, cancelled, expired, resumed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from support import builders
from support.batching import CHAT, Gated, create, ended, line, look, read, slow, to_jsonl, upload
from support.serving import POLL_S, Served, serve_echo, until_served


@asynccontextmanager
async def asking(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=served.url, timeout=30) as client:
        yield client


@pytest_asyncio.fixture
async def client(echo: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with asking(echo) as found:
        yield found


async def test_every_line_is_answered_once_as_its_route_answers_it(
    client: httpx.AsyncClient,
) -> None:
    lines = [line(number) for number in range(30)]
    made = await create(client, lines, metadata={"of": "a test"})
    assert made["status"] == "validating"
    batch = await ended(client, made["id"])
    assert batch["status"] == "completed"
    assert batch["request_counts"] == {"total": 30, "completed": 30, "failed": 0}
    assert (batch["model"], batch["metadata"]) == ("echo", {"of": "a test"})
    assert "error_file_id" not in batch
    answers = await read(client, batch["output_file_id"])
    assert set(answers) == {one["custom_id"] for one in lines}
    asked = await client.post(CHAT, json=lines[7]["body"])
    answer = answers["line-7"]
    assert (answer["error"], answer["response"]["status_code"]) == (None, 200)
    body = answer["response"]["body"]
    assert body["choices"] == asked.json()["choices"]
    assert body.keys() == asked.json().keys()
    usage = [one["response"]["body"]["usage"] for one in answers.values()]
    assert batch["usage"]["output_tokens"] == sum(one["completion_tokens"] for one in usage)
    assert batch["usage"]["total_tokens"] == sum(one["total_tokens"] for one in usage)
    output = (await client.get(f"/v1/files/{batch['output_file_id']}")).json()
    assert output["purpose"] == "batch_output"
    assert output["expires_at"] == output["created_at"] + 30 * 24 * 3600
    assert made["id"] in output["filename"]


@pytest.mark.parametrize(
    ("url", "body"),
    [
        ("/v1/completions", {"prompt": "one two", "max_tokens": 4}),
        ("/v1/responses", {"input": "one two", "max_output_tokens": 16}),
    ],
)
async def test_completions_and_responses_come_in_batches_too(
    client: httpx.AsyncClient, url: str, body: dict[str, Any]
) -> None:
    asked = {"custom_id": "a", "method": "POST", "url": url, "body": {"model": "echo", **body}}
    batch = await ended(client, (await create(client, [asked], endpoint=url))["id"])
    answer = (await read(client, batch["output_file_id"]))["a"]["response"]["body"]
    live = (await client.post(url, json=asked["body"])).json()
    assert answer.keys() == live.keys()
    if url == "/v1/responses":
        kept = await client.get(f"/v1/responses/{answer['id']}")
        assert kept.json()["output"] == answer["output"], "it is stored as a live one is"


async def test_the_model_may_differ_by_line_and_each_gets_its_adapter(tmp_path: Path) -> None:
    names = [f"adapter-{number}" for number in range(5)]
    for number, name in enumerate(names):
        builders.write(tmp_path / "adapters" / name, seed=number)
    slots = {"device_slots": 2, "host_slots": 4}
    async with serve_echo(tmp_path, adapters=slots) as served, asking(served) as client:
        await until_served(served, *names)
        lines = [line(number, [*names, "echo"][number % 6]) for number in range(60)]
        batch = await ended(client, (await create(client, lines))["id"])
        assert batch["request_counts"] == {"total": 60, "completed": 60, "failed": 0}
        assert "model" not in batch
        answers = await read(client, batch["output_file_id"])
        for one in lines:
            body = answers[one["custom_id"]]["response"]["body"]
            assert body["model"] == one["body"]["model"]


async def test_a_file_with_any_wrong_line_fails_whole_and_every_fault_is_told(
    client: httpx.AsyncClient,
) -> None:
    lines = [
        line(1),
        "{nothing",
        line(1),
        line(2, "nobody"),
        line(3, temperature="hot"),
        {**line(4), "url": "/v1/completions"},
        line(5, stream=True),
        {"custom_id": "x"},
    ]
    batch = await ended(client, (await create(client, lines))["id"])
    assert batch["status"] == "failed"
    assert batch["failed_at"] >= batch["created_at"]
    told = [(one["line"], one["code"], one["param"]) for one in batch["errors"]["data"]]
    assert told == [
        (2, "invalid_json_line", None),
        (3, "duplicate_custom_id", "custom_id"),
        (4, "model_not_found", "body.model"),
        (5, "invalid_request", "body.temperature"),
        (6, "mismatched_url", "url"),
        (7, "stream_not_supported", "body.stream"),
        (8, "missing_required_parameter", "method"),
    ]
    assert "output_file_id" not in batch


async def test_a_line_that_fails_does_so_alone_in_the_file_of_errors(
    client: httpx.AsyncClient,
) -> None:
    long = [{"role": "user", "content": "word " * 50_000}]
    batch = await ended(client, (await create(client, [line(1), line(2, messages=long)]))["id"])
    assert batch["status"] == "completed"
    assert batch["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
    assert set(await read(client, batch["output_file_id"])) == {"line-1"}
    failed = (await read(client, batch["error_file_id"]))["line-2"]
    assert failed["error"] is None
    assert failed["response"]["status_code"] == 400
    assert failed["response"]["body"]["error"]["code"] == "context_length_exceeded"


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"endpoint": "/v1/embeddings"}, 400, "endpoint"),
        ({"completion_window": "1h"}, 400, "completion_window"),
        ({"input_file_id": "file-none"}, 404, "input_file_id"),
        ({"input_file_id": None}, 400, "input_file_id"),
        ({"metadata": {"a": 1}}, 400, "metadata"),
        ({"metadata": {"a": "x" * 513}}, 400, "metadata[a]"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, 400, None),
        ({"priority": 1}, 400, "priority"),
    ],
)
async def test_what_cannot_be_a_batch_is_refused_at_once(
    client: httpx.AsyncClient, change: dict[str, Any], status: int, param: str | None
) -> None:
    body = {
        "input_file_id": await upload(client, to_jsonl([line(1)])),
        "endpoint": CHAT,
        "completion_window": "24h",
    }
    answer = await client.post("/v1/batches", json=body | change)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["param"] == (param or "output_expires_after.seconds")
    assert (await client.get("/v1/batches")).json()["data"] == []


async def test_only_a_file_for_batches_may_be_one(client: httpx.AsyncClient) -> None:
    sent = {"file": ("lines.jsonl", to_jsonl([line(1)]))}
    made = await client.post("/v1/files", files=sent, data={"purpose": "fine-tune"})
    body = {
        "input_file_id": made.json()["id"],
        "endpoint": CHAT,
        "completion_window": "24h",
    }
    answer = await client.post("/v1/batches", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "input_file_id")


@pytest.mark.slow
async def test_a_cancelled_batch_keeps_what_was_answered_and_names_the_rest(
    tmp_path: Path,
) -> None:
    engine = Gated()
    async with serve_echo(tmp_path, engine) as served, asking(served) as client:
        made = await create(client, [line(1), slow(2), slow(3)])
        async with asyncio.timeout(20):
            await engine.begun.wait()
            while (await look(client, made["id"]))["request_counts"]["completed"] == 0:
                await asyncio.sleep(POLL_S)
        cancelling = (await client.post(f"/v1/batches/{made['id']}/cancel")).json()
        assert cancelling["status"] == "cancelling"
        batch = await ended(client, made["id"])
        assert batch["status"] == "cancelled"
        assert batch["cancelled_at"] >= batch["cancelling_at"]
        assert set(await read(client, batch["output_file_id"])) == {"line-1"}
        left = await read(client, batch["error_file_id"])
        assert {one["error"]["code"] for one in left.values()} == {"batch_cancelled"}
        assert set(left) == {"line-2", "line-3"}
        again = await client.post(f"/v1/batches/{made['id']}/cancel")
        assert again.status_code == 400


@pytest.mark.slow
async def test_an_expired_batch_keeps_what_was_answered(tmp_path: Path) -> None:
    engine = Gated()
    async with serve_echo(tmp_path, engine) as served, asking(served) as client:
        made = await create(client, [line(1), slow(2)])
        async with asyncio.timeout(20):
            await engine.begun.wait()
            while (await look(client, made["id"]))["request_counts"]["completed"] == 0:
                await asyncio.sleep(POLL_S)
        assert served.parts is not None
        batches = served.parts.server.batches
        now = batches.now
        batches._now = lambda: now + 24 * 3600 + 1
        batch = await ended(client, made["id"])
        assert batch["status"] == "expired"
        assert batch["expired_at"] >= batch["expires_at"] == made["created_at"] + 24 * 3600
        left = await read(client, batch["error_file_id"])
        assert left["line-2"]["error"]["code"] == "batch_expired"


@pytest.mark.slow
async def test_a_line_whose_engine_was_lost_is_asked_again_but_not_for_ever(
    tmp_path: Path,
) -> None:
    engine = Gated()
    async with serve_echo(tmp_path, engine) as served, asking(served) as client:
        engine.lost = 2
        batch = await ended(client, (await create(client, [slow(1, "lost")]))["id"])
        assert batch["request_counts"]["completed"] == 1
        engine.lost = 100
        batch = await ended(client, (await create(client, [slow(1, "lost")]))["id"])
        failed = (await read(client, batch["error_file_id"]))["line-1"]
        assert failed["response"]["body"]["error"]["code"] == "engine_lost"
        assert engine.lost == 97


async def test_a_server_that_stops_goes_on_with_the_batch_when_it_starts_again(
    tmp_path: Path,
) -> None:
    engine = Gated()
    async with serve_echo(tmp_path, engine) as served, asking(served) as client:
        made = await create(client, [line(1), slow(2), line(3)])
        async with asyncio.timeout(20):
            await engine.begun.wait()
            while (await look(client, made["id"]))["request_counts"]["completed"] == 0:
                await asyncio.sleep(POLL_S)
        await client.delete(f"/v1/files/{made['input_file_id']}")
    async with serve_echo(tmp_path) as served, asking(served) as client:
        batch = await ended(client, made["id"])
        assert batch["request_counts"] == {"total": 3, "completed": 3, "failed": 0}
        assert len(await read(client, batch["output_file_id"])) == 3
        assert not any((tmp_path / "state" / "files" / "batches").iterdir())


async def test_live_requests_pass_the_lines_of_a_batch(tmp_path: Path) -> None:
    engine = Gated()
    limits = {"max_seqs": 2}
    async with (
        serve_echo(tmp_path, engine, limits=limits) as served,
        asking(served) as client,
    ):
        await create(client, [slow(number) for number in range(20)])
        async with asyncio.timeout(20):
            await engine.begun.wait()
        answer = await client.post(CHAT, json=line(1)["body"])
        assert answer.status_code == 200
        engine.go.set()


async def test_a_tenant_has_so_many_unfinished_batches(tmp_path: Path) -> None:
    engine = Gated()
    async with (
        serve_echo(tmp_path, engine, batches={"unfinished": 1}) as served,
        asking(served) as client,
    ):
        made = await create(client, [slow(1)])
        body = {
            "input_file_id": made["input_file_id"],
            "endpoint": CHAT,
            "completion_window": "24h",
        }
        answer = await client.post("/v1/batches", json=body)
        assert answer.json()["error"]["code"] == "insufficient_quota"
        engine.go.set()
        await ended(client, made["id"])
        assert (await client.post("/v1/batches", json=body)).status_code == 200


async def test_the_list_comes_in_pages_the_newest_first(client: httpx.AsyncClient) -> None:
    ids = [(await create(client, [line(1)]))["id"] for _ in range(3)]
    first = (await client.get("/v1/batches?limit=2")).json()
    assert [one["id"] for one in first["data"]] == ids[:0:-1]
    assert first["has_more"]
    rest = (await client.get(f"/v1/batches?after={first['last_id']}")).json()
    assert [one["id"] for one in rest["data"]] == ids[:1]
    assert (await client.get("/v1/batches?after=batch_none")).status_code == 404
