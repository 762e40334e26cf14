"""Limits over HTTP: exact to the request, told in OpenAI's headers, settled at every end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from support import clients
from support.serving import Served, serve_echo
from tenancy.conftest import OPERATOR, Tenants
from veneer_server.engine.base import Answer, Call, EngineError, EngineLost, Frames
from veneer_server.engine.echo import EchoEngine
from veneer_server.reloading import reload
from veneer_server.settings import Settings

SERVER = {"api_key": OPERATOR}


def chat(words: int = 2, **more: Any) -> dict[str, Any]:
    content = " ".join(["word"] * words)
    return {"messages": [{"role": "user", "content": content}], "max_tokens": 2 * words, **more}


@pytest_asyncio.fixture
async def limited(tmp_path: Path) -> AsyncIterator[Tenants]:
    limits = {"acme": {"rpm": 8}, "open": {}}
    tenants = {"limits": limits, "tpm": 2000}
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(
            serve_echo(tmp_path, server=SERVER, tenants=tenants)
        )

        def client(key: str) -> httpx.AsyncClient:
            made = httpx.AsyncClient(
                base_url=served.url, headers={"authorization": f"Bearer {key}"}, timeout=30
            )
            stack.push_async_callback(made.aclose)
            return made

        operator = client(OPERATOR)
        yield Tenants(served, operator, operator, operator, client)


async def ask(key: httpx.AsyncClient, body: dict[str, Any] | None = None) -> httpx.Response:
    return await key.post("/v1/chat/completions", json=body or chat())


async def left(key: httpx.AsyncClient) -> tuple[int, int]:
    """Return how many requests and tokens are left after a request that uses no tokens."""
    found = await ask(key, {"messages": [{"role": "user", "content": ""}], "max_tokens": 1})
    told = found.headers
    return int(told["x-ratelimit-remaining-requests"]), int(told["x-ratelimit-remaining-tokens"])


async def test_of_twenty_at_once_as_many_are_answered_as_the_limit_says(limited: Tenants) -> None:
    key = await limited.key(tenant="acme", rpm=5)
    answers = await asyncio.gather(*(ask(key) for _ in range(20)))
    assert sorted(a.status_code for a in answers) == [200] * 5 + [429] * 15
    refused = next(a for a in answers if a.status_code == 429)
    assert refused.json()["error"] == {
        "message": "Rate limit reached for your key on requests per minute (RPM): limit 5,"
        f" remaining 0, requested 1. Please try again in {wait_of(refused)}.",
        "type": "requests",
        "param": None,
        "code": "rate_limit_exceeded",
    }
    assert 1 <= int(refused.headers["retry-after"]) <= 12
    assert refused.headers["x-ratelimit-limit-requests"] == "5"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert refused.headers["x-ratelimit-reset-requests"].endswith("s")


def wait_of(refused: httpx.Response) -> str:
    return str(refused.json()["error"]["message"].rpartition(" in ")[2].removesuffix("."))


async def test_the_keys_of_a_tenant_share_what_the_tenant_may_use(limited: Tenants) -> None:
    keys = [await limited.key(tenant="acme") for _ in range(2)]
    answers = [await ask(keys[i % 2]) for i in range(10)]
    assert [a.status_code for a in answers] == [200] * 8 + [429] * 2
    assert "the tenant acme" in answers[-1].json()["error"]["message"]
    other = await limited.key(tenant="bell")
    assert (await ask(other)).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_costs_what_its_usage_says(limited: Tenants, stream: bool) -> None:
    key = await limited.key(tenant="open", rpm=6, tpm=120)
    before = await left(key)
    options: dict[str, Any] = {"stream": True} if stream else {}
    found = await ask(key, chat(20, **options))
    assert found.status_code == 200
    after = await left(key)
    assert before[0] - after[0] == 2
    # A word is a token of the echo engine: 20 are read and 20 written. Some flow in meanwhile.
    assert 0 <= 40 + 2 - (before[1] - after[1]) <= 40


async def test_tokens_that_a_key_does_not_have_are_not_given(limited: Tenants) -> None:
    key = await limited.key(tenant="open", tpm=100)
    assert (await ask(key, chat(10, max_tokens=60))).status_code == 200
    refused = await ask(key, chat(10, max_tokens=85))
    assert refused.status_code == 429
    assert refused.json()["error"]["type"] == "tokens"
    assert refused.headers["x-ratelimit-limit-tokens"] == "100"
    never = await ask(key, chat(10, max_tokens=101))
    assert (never.status_code, never.json()["error"]["code"]) == (429, "insufficient_quota")
    assert never.headers["x-should-retry"] == "false"
    assert "retry-after" not in never.headers


async def test_a_request_that_the_engine_refuses_costs_no_tokens(limited: Tenants) -> None:
    key = await limited.key(tenant="open", rpm=100)
    before = await left(key)
    refused = await ask(key, chat(5, max_tokens=1500, temperature=-1))
    assert refused.status_code == 400
    unknown = await ask(key, chat(5, model="nobody"))
    assert unknown.status_code == 404
    after = await left(key)
    assert before[1] - after[1] <= 2


class GatedEngine(EchoEngine):
    """Begins each answer, and ends it when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()

    async def respond(self, call: Call) -> Answer | Frames:
        found = await super().respond(call)
        assert not isinstance(found, Answer)
        return self._held(found)

    async def _held(self, frames: Frames) -> Frames:
        async for frame in frames:
            yield frame
            await self.gate.wait()


@pytest.mark.parametrize("leaves", [False, True])
async def test_requests_at_the_same_time_are_counted_until_their_stream_has_ended(
    tmp_path: Path, leaves: bool
) -> None:
    engine, body = GatedEngine(), chat(stream=True)
    async with (
        serve_echo(tmp_path, engine, tenants={"server_concurrency": 1}) as served,
        httpx.AsyncClient(base_url=served.url, timeout=30) as client,
    ):
        async with client.stream("POST", "/v1/chat/completions", json=body) as first:
            assert first.status_code == 200
            refused = await ask(client, body)
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
            if not leaves:
                engine.gate.set()
                await first.aread()
        engine.gate.set()
        async with asyncio.timeout(10):
            while (await ask(client, body)).status_code != 200:
                await asyncio.sleep(0.01)


async def test_what_the_engine_failed_to_answer_costs_nothing(tmp_path: Path) -> None:
    fails: dict[str, str | type[EngineError]] = {"echo": EngineLost}
    engine = EchoEngine(answers=fails)
    tenants = {"server_rpm": 2, "server_tpm": 500}
    async with (
        serve_echo(tmp_path, engine, tenants=tenants) as served,
        httpx.AsyncClient(base_url=served.url, timeout=30) as client,
    ):
        answers = [await ask(client, chat(50)) for _ in range(9)]
        assert [a.status_code for a in answers] == [503] * 9
        fails.clear()
        assert await left(client) == (1, 498)


async def test_the_official_client_waits_for_what_it_is_told_and_gives_up_where_it_must(
    limited: Tenants,
) -> None:
    made = await limited.operator.post("/v1/keys", json={"tenant": "open", "rpm": 60, "tpm": 50})
    async with clients.openai.AsyncOpenAI(
        base_url=f"{limited.served.url}/v1", api_key=made.json()["key"], max_retries=2
    ) as client:
        raw = await client.chat.completions.with_raw_response.create(
            model="", messages=[{"role": "user", "content": "Hi"}], max_tokens=3
        )
        assert raw.headers["x-ratelimit-limit-requests"] == "60"
        with pytest.raises(clients.openai.RateLimitError) as refused:
            await client.chat.completions.create(
                model="", messages=[{"role": "user", "content": "Hi"}], max_tokens=300
            )
        assert refused.value.code == "insufficient_quota"


async def test_anthropics_clients_are_told_in_their_words(limited: Tenants) -> None:
    key = await limited.key(tenant="open", rpm=1)
    assert (await ask(key)).status_code == 200
    refused = await key.post("/v1/messages", json=chat(model="echo"))
    assert (refused.status_code, refused.json()["error"]["type"]) == (429, "rate_limit_error")
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"


async def test_without_limits_no_answer_speaks_of_them(echo: Served) -> None:
    async with httpx.AsyncClient(base_url=echo.url) as client:
        found = await ask(client)
    assert found.status_code == 200
    assert not [name for name in found.headers if name.startswith("x-ratelimit")]


async def test_wrong_keys_from_one_address_are_soon_refused_unread(tmp_path: Path) -> None:
    tenants = {"auth_failures_per_minute": 3}
    async with (
        serve_echo(tmp_path, server=SERVER, tenants=tenants) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        answers = [
            await client.get("/v1/models", headers={"authorization": f"Bearer wrong-{i}"})
            for i in range(5)
        ]
        assert [a.status_code for a in answers] == [401] * 3 + [429] * 2
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 20
        right = await client.get("/v1/models", headers={"authorization": f"Bearer {OPERATOR}"})
        assert right.status_code == 200  # too long to be guessed


async def test_a_keys_limits_are_shown_and_survive_a_restart(tmp_path: Path) -> None:
    sent = {"authorization": f"Bearer {OPERATOR}"}
    for start in range(2):
        async with (
            serve_echo(tmp_path, server=SERVER) as served,
            httpx.AsyncClient(base_url=served.url, headers=sent) as client,
        ):
            if start == 0:
                asked = {"tenant": "acme", "rpm": 3, "tpm": 500}
                key = (await client.post("/v1/keys", json=asked)).json()["key"]
            [shown] = (await client.get("/v1/keys")).json()["data"]
            assert shown["limits"] == {"rpm": 3, "tpm": 500, "concurrency": None}
            found = await client.post(
                "/v1/chat/completions", json=chat(), headers={"authorization": f"Bearer {key}"}
            )
            assert found.headers["x-ratelimit-limit-requests"] == "3"


async def test_a_limit_of_nothing_is_refused(limited: Tenants) -> None:
    for name in ("rpm", "tpm", "concurrency"):
        wrong = await limited.operator.post("/v1/keys", json={name: 0})
        assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, name)


async def test_limits_that_are_read_again_hold_from_the_next_request_on(limited: Tenants) -> None:
    parts = limited.served.parts
    assert parts is not None
    key = await limited.key(tenant="bell")

    def reread(**tenants: Any) -> None:
        wanted = parts.server.settings.model_copy(
            update={"tenants": Settings.load(environ={}, flags={"tenants": tenants}).tenants}
        )
        reload(parts.server, lambda: wanted)

    assert (await ask(key)).status_code == 200
    reread(limits={"bell": {"rpm": 1}})
    assert [(await ask(key)).status_code for _ in range(2)] == [200, 429]
    reread(server_rpm=1)
    assert [(await ask(key)).status_code for _ in range(2)] == [200, 429]
    reread()
    assert (await ask(key)).status_code == 200
