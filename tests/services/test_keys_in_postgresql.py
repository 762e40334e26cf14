"""Keys in PostgreSQL: two servers know the same ones, and forget a revoked one within a second."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from support.serving import POLL_S, serve_echo
from veneer_server.tenancy.keyring import FOLLOW_S

pytestmark = pytest.mark.services

OPERATOR = {"authorization": "Bearer sk-the-operators-own-key"}
WITHIN_S = 1.0
"""The promise of docs/tenants.md."""
NEAR_S = 20

Pair = tuple[httpx.AsyncClient, httpx.AsyncClient]


@pytest_asyncio.fixture
async def pair(postgres_url: str, tmp_path: Path) -> AsyncIterator[Pair]:
    url = postgres_url.replace("postgresql+asyncpg", "postgresql")
    key = {"api_key": OPERATOR["authorization"].removeprefix("Bearer ")}
    async with (
        serve_echo(tmp_path / "a", server=key, state={"url": url, "dir": tmp_path / "a/s"}) as a,
        serve_echo(tmp_path / "b", server=key, state={"url": url, "dir": tmp_path / "b/s"}) as b,
        httpx.AsyncClient(base_url=a.url, timeout=30) as http_a,
        httpx.AsyncClient(base_url=b.url, timeout=30) as http_b,
    ):
        yield http_a, http_b


async def status(server: httpx.AsyncClient, key: str) -> int:
    headers = {"authorization": f"Bearer {key}"}
    return (await server.get("/v1/models", headers=headers)).status_code


async def until_answered(server: httpx.AsyncClient, key: str, wanted: int) -> None:
    async with asyncio.timeout(NEAR_S):
        while await status(server, key) != wanted:
            await asyncio.sleep(POLL_S)


async def test_a_key_of_one_server_opens_the_other_and_a_revoked_one_neither(pair: Pair) -> None:
    a, b = pair
    body = {"tenant": "acme", "scopes": ["infer", "models:read"]}
    made = (await a.post("/v1/keys", json=body, headers=OPERATOR)).json()
    assert await status(a, made["key"]) == 200
    await until_answered(b, made["key"], 200)
    assert (await b.delete(f"/v1/keys/{made['id']}", headers=OPERATOR)).is_success
    assert await status(b, made["key"]) == 401
    await until_answered(a, made["key"], 401)


def test_the_pause_between_two_looks_leaves_room_for_the_promised_second() -> None:
    assert FOLLOW_S < WITHIN_S
