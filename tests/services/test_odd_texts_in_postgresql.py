"""What PostgreSQL takes in no text, the character NUL, costs no request its answer."""

import asyncio
from pathlib import Path

import httpx
import pytest

from support.serving import serve_echo

pytestmark = pytest.mark.services

REFUSED = [
    ("DELETE", "/v1/keys/a%00b"),
    ("DELETE", "/v1/adapters/a%00b"),
    ("DELETE", "/v1/models/a%00b"),
    ("PUT", "/v1/adapters/a/aliases/%00"),
    ("DELETE", "/v1/adapters/a/aliases/%00"),
    ("POST", "/v1/adapters/a%00/aliases/live/rollback"),
    ("PATCH", "/v1/adapters/%00"),
    ("GET", "/v1/responses/%00"),
    ("GET", "/v1/responses/resp_%00/input_items?after=%00"),
    ("DELETE", "/v1/conversations/conv_%00"),
    ("GET", "/v1/usage?start_time=1&tenants=%00"),
    ("GET", "/v1/audit?after=%00"),
]


async def test_a_prompt_is_kept_with_it_and_a_name_with_it_is_the_clients_fault(
    postgres_url: str, tmp_path: Path
) -> None:
    state = {"url": postgres_url.replace("postgresql+asyncpg", "postgresql"), "dir": tmp_path / "s"}
    async with (
        asyncio.timeout(60),
        serve_echo(tmp_path, state=state) as served,
        httpx.AsyncClient(base_url=served.url, timeout=30) as client,
    ):
        for method, path in REFUSED:
            answer = await client.request(method, path, json={"revision": 1, "pinned": True})
            assert 400 <= answer.status_code < 500, (method, path, answer.text)
        asked = {"input": "a\0b", "instructions": "c\0d"}
        made = await client.post("/v1/responses", json=asked)
        assert made.status_code == 200, made.text
        items = await client.get(f"/v1/responses/{made.json()['id']}/input_items")
        assert items.json()["data"][0]["content"][0]["text"] == "a\0b"
