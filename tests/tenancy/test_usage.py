"""What the server says was used is what its clients got, and what its metrics counted."""

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from support import builders, clients
from support.serving import serve_echo, until_served
from tenancy.conftest import OPERATOR, Tenants
from tenancy.test_limits import GatedEngine
from veneer_server.engine.base import EngineLost
from veneer_server.engine.echo import EchoEngine

CHAT_PATH = "/v1/chat/completions"
PROGRAM = "from veneer_server.commands.main import main; main()"


def chat(model: str, words: int = 3, **more: Any) -> dict[str, Any]:
    content = " ".join(["word"] * words)
    return {"model": model, "messages": [{"role": "user", "content": content}], **more}


class Told:
    """A client's own ledger."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.tokens: Counter[tuple[str, str]] = Counter()

    async def ask(self, key: httpx.AsyncClient, model: str, words: int, stream: bool) -> None:
        body = chat(model, words, max_tokens=words, stream=stream)
        if stream:
            body["stream_options"] = {"include_usage": True}
        answer = await key.post(CHAT_PATH, json=body)
        assert answer.status_code == 200, answer.text
        events = [line[6:] for line in answer.text.splitlines() if line.startswith("data: {")]
        usage = json.loads(events[-1])["usage"] if stream else answer.json()["usage"]
        self.requests[model] += 1
        self.tokens[model, "input"] += usage["prompt_tokens"]
        self.tokens[model, "output"] += usage["completion_tokens"]


async def usage(operator: httpx.AsyncClient, query: str = "") -> list[dict[str, Any]]:
    found = await operator.get(f"/v1/usage?{query}")
    assert found.status_code == 200, found.text
    return [result for bucket in found.json()["data"] for result in bucket["results"]]


async def metrics(operator: httpx.AsyncClient, name: str) -> Counter[tuple[str, ...]]:
    text = (await operator.get("/metrics")).text
    found: Counter[tuple[str, ...]] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name:
                labels = sample.labels
                which = labels.get("direction") or labels.get("outcome") or ""
                found[labels["adapter"], which] += int(sample.value)
    return found


async def test_clients_metrics_and_usage_agree_to_the_token(tenants: Tenants) -> None:
    told, keys = Told(), {"acme/own": tenants.acme, "bell/own": tenants.bell}
    models = ["acme/own", "bell/own"] * 10
    await asyncio.gather(
        *(
            told.ask(keys[model], model, words=1 + i, stream=bool(i % 3))
            for i, model in enumerate(models)
        )
    )
    found = {r["adapter"]: r for r in await usage(tenants.operator, "group_by=adapter")}
    counted = await metrics(tenants.operator, "veneer_tokens_total")
    ended = await metrics(tenants.operator, "veneer_requests_total")
    for model in keys:
        assert found[model]["num_model_requests"] == told.requests[model] == 10
        assert ended[model, "completed"] == 10
        for direction in ("input", "output"):
            tokens = told.tokens[model, direction]
            assert found[model][f"{direction}_tokens"] == tokens == counted[model, direction] > 0


async def test_usage_is_told_apart_by_tenant_key_revision_and_outcome(tenants: Tenants) -> None:
    await Told().ask(tenants.acme, "acme/own", 3, False)
    await Told().ask(tenants.operator, "plain", 3, False)
    query = "&".join(f"group_by={group}" for group in ("tenant", "key", "revision", "outcome"))
    mine, nobodys = sorted(await usage(tenants.operator, query), key=lambda r: r["tenant"] or "z")
    assert (mine["tenant"], mine["revision"], mine["outcome"]) == ("acme", 1, "completed")
    assert mine["key"] == mine["api_key_id"] is not None
    assert (nobodys["tenant"], nobodys["key"]) == (None, None)
    [only] = await usage(tenants.operator, "tenants=acme")
    assert (only["num_model_requests"], only["tenant"]) == (1, None)
    assert mine["total_seconds"] >= mine["queue_seconds"] >= 0


async def test_a_request_that_fails_or_is_left_has_a_row_too(tmp_path: Path) -> None:
    fails = {"echo": EngineLost}
    async with (
        serve_echo(tmp_path, EchoEngine(answers=fails)) as served,
        httpx.AsyncClient(base_url=served.url, timeout=30) as client,
    ):
        assert (await client.post("/v1/chat/completions", json=chat("echo"))).status_code == 503
        fails.clear()
        await Told().ask(client, "echo", 3, True)
        found = await usage(client, "group_by=outcome")
        assert [(r["outcome"], r["num_model_requests"]) for r in found] == [
            ("completed", 1),
            ("failed", 1),
        ]
        assert {r["revision"] for r in await usage(client, "group_by=revision")} == {None}


async def test_the_wait_for_a_turn_is_told_apart_from_the_answer(tmp_path: Path) -> None:
    engine, one = GatedEngine(), {"max_seqs": 1}
    sent = {"authorization": f"Bearer {OPERATOR}"}
    async with (
        serve_echo(tmp_path, engine, server={"api_key": OPERATOR}, limits=one) as served,
        httpx.AsyncClient(base_url=served.url, headers=sent, timeout=30) as client,
    ):
        made = (await client.post("/v1/keys", json={"tenant": "acme"})).json()
        second = {"authorization": f"Bearer {made['key']}"}
        body = chat("echo", stream=True)
        async with asyncio.timeout(20), client.stream("POST", CHAT_PATH, json=body) as first:
            waiting = asyncio.create_task(client.post(CHAT_PATH, json=body, headers=second))
            while "veneer_sequences_waiting 1" not in (await client.get("/metrics")).text:
                await asyncio.sleep(0.01)
            engine.gate.set()
            await first.aread()
            assert (await waiting).status_code == 200
        found = {r["tenant"]: r for r in await usage(client, "group_by=tenant")}
        assert found["acme"]["queue_seconds"] > found[None]["queue_seconds"]
        assert found["acme"]["total_seconds"] >= found["acme"]["queue_seconds"]
        assert found["acme"]["cold_start_seconds"] == 0


async def test_usage_survives_the_end_of_the_server(tmp_path: Path) -> None:
    for start in range(2):
        builders.write(tmp_path / "adapters" / "mine", seed=1)
        async with (
            serve_echo(tmp_path) as served,
            httpx.AsyncClient(base_url=served.url, timeout=30) as client,
        ):
            await until_served(served, "mine")
            if start == 0:
                await Told().ask(client, "mine", 3, False)
                continue
            [found] = await usage(client, "group_by=adapter")
            assert (found["adapter"], found["num_model_requests"]) == ("mine", 1)


async def test_the_official_client_reads_the_usage_page_by_page(tenants: Tenants) -> None:
    await Told().ask(tenants.acme, "acme/own", 3, False)
    async with clients.openai.AsyncOpenAI(
        base_url=f"{tenants.served.url}/v1",
        api_key="unused",
        admin_api_key=OPERATOR,
        _strict_response_validation=True,
    ) as client:
        ask = client.admin.organization.usage.completions
        options: Any = {"bucket_width": "1h", "group_by": ["project_id", "model"]}
        page = await ask(start_time=1, limit=1, **options)
        assert page.has_more
        page = await ask(start_time=now(tenants) - 7200, limit=168, **options)
    [result] = [each for bucket in page.data for each in bucket.results]
    assert result.object == "organization.usage.completions.result"
    assert (result.project_id, result.model) == ("acme", "acme/own")
    assert (result.num_model_requests, result.api_key_id) == (1, None)
    assert not page.has_more


def now(tenants: Tenants) -> int:
    assert tenants.served.parts is not None
    return tenants.served.parts.server.ledger.now


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("group_by=colour", "group_by"),
        ("bucket_width=1y", "bucket_width"),
        ("limit=32", "limit"),
        ("start_time=soon", "start_time"),
        ("start_time=20&end_time=10", "start_time"),
        ("begin=1", "begin"),
        ("b" * 5000 + "=1", "b" * 100),
        ("tenants=a%00", "tenants"),
        ("models=" + "m" * 257, "models"),
    ],
)
async def test_a_wrong_question_is_refused_with_its_parameter(
    tenants: Tenants, query: str, param: str
) -> None:
    found = await tenants.operator.get(f"/v1/usage?{query}")
    assert (found.status_code, found.json()["error"]["param"]) == (400, param)


ROUTES = ("/v1/usage", "/v1/organization/usage/completions")
EVERY_GROUP = "&".join(
    f"group_by={group}" for group in ("tenant", "key", "adapter", "revision", "outcome")
)


async def test_a_key_without_the_scope_reads_no_usage(tenants: Tenants) -> None:
    for key in (await tenants.key(tenant="acme"), await tenants.key()):
        for path in ROUTES:
            found = await key.get(path)
            assert (found.status_code, found.json()["error"]["code"]) == (403, "missing_scope")


@pytest.mark.parametrize("path", ROUTES)
async def test_a_tenants_key_reads_what_its_tenant_used_and_nothing_else(
    tenants: Tenants, path: str
) -> None:
    second = await tenants.key(tenant="acme")
    for client, model in (
        (tenants.acme, "acme/own"),
        (second, "acme/new"),
        (tenants.bell, "bell/own"),
        (tenants.operator, "plain"),
    ):
        await Told().ask(client, model, 3, False)
    query = f"start_time={now(tenants) - 3600}&end_time={now(tenants) + 60}&{EVERY_GROUP}"
    mine = await tenants.acme.get(f"{path}?{query}")
    whole = await tenants.operator.get(f"{path}?{query}&tenants=acme")
    assert mine.status_code == 200
    assert mine.text == whole.text
    found = [r for bucket in mine.json()["data"] for r in bucket["results"]]
    assert {(r["tenant"], r["adapter"]) for r in found} == {
        ("acme", "acme/own"),
        ("acme", "acme/new"),
    }
    assert "bell" not in mine.text


@pytest.mark.parametrize("path", ROUTES)
async def test_what_another_tenant_used_is_answered_as_what_nobody_used(
    tenants: Tenants, path: str
) -> None:
    await Told().ask(tenants.acme, "acme/own", 3, False)
    await Told().ask(tenants.bell, "bell/own", 3, False)
    query = f"start_time={now(tenants) - 3600}&end_time={now(tenants) + 60}&{EVERY_GROUP}"
    theirs = await tenants.operator.get(f"{path}?{query}&tenants=bell")
    [row] = [r for bucket in theirs.json()["data"] for r in bucket["results"]]
    for name, real in (
        ("tenants", "bell"),
        ("project_ids[]", "bell"),
        ("keys", row["key"]),
        ("api_key_ids", row["key"]),
        ("adapters", "bell/own"),
        ("models", "bell/own"),
    ):
        answers = [
            await tenants.acme.get(f"{path}?{query}&{name}={value}") for value in (real, "nobody")
        ]
        assert answers[0].status_code == 200
        assert answers[0].content == answers[1].content
        assert answers[0].json()["data"][0]["results"] == []


async def test_a_key_of_no_tenant_and_one_that_makes_keys_read_everything(
    tenants: Tenants,
) -> None:
    await Told().ask(tenants.acme, "acme/own", 3, False)
    await Told().ask(tenants.bell, "bell/own", 3, False)
    for asked in ({"scopes": ["usage"]}, {"scopes": ["keys:admin"], "tenant": "acme"}):
        key = await tenants.key(**asked)
        assert {r["tenant"] for r in await usage(key, "group_by=tenant")} == {"acme", "bell"}


@pytest.mark.slow
async def test_the_command_shows_a_table_and_json(tenants: Tenants) -> None:
    await Told().ask(tenants.acme, "acme/own", 3, False)

    async def veneer(*words: str) -> str:
        where = ("--url", tenants.served.url, "--key", OPERATOR)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PROGRAM, "usage", *words, *where),
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            out, _ = await process.communicate()
        assert process.returncode == 0
        return out.decode()

    head, row = (await veneer("--since", "60d")).splitlines()
    assert head.split() == ["FROM", "TENANT", "ADAPTER", "REQUESTS", "INPUT", "CACHED", "OUTPUT"]
    assert row.split()[1:] == ["acme", "acme/own", "1", "3", "0", "3"]
    shown = json.loads(await veneer("--by", "outcome", "--width", "1h", "--json"))
    [result] = [each for bucket in shown for each in bucket["results"]]
    assert (result["outcome"], result["num_model_requests"]) == ("completed", 1)
