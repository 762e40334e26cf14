"""Usage in PostgreSQL: the rows of two servers, written once each, and their sums."""

import asyncio
from pathlib import Path

import httpx
import pytest

from support.serving import POLL_S, serve_echo
from unit.server.accounting.test_ledger import DAY, NOON, record
from veneer_adapters.catalog.database import Database
from veneer_server.accounting.ledger import Ledger
from veneer_server.accounting.queries import Group, Question
from veneer_server.conversations.keeping import MIGRATIONS

pytestmark = pytest.mark.services

CHAT = {"messages": [{"role": "user", "content": "one two three"}], "max_tokens": 3}


async def test_rows_are_summed_by_group_and_old_ones_go(postgres_url: str) -> None:
    database = await Database.open(postgres_url, further=(MIGRATIONS,))
    ledger = Ledger(database, days=2, now=lambda: NOON)
    same = record()
    for each in [same, same, record(tenant="bell"), record(time=NOON - 3 * DAY)]:
        ledger.note(each)
        await ledger.flush()
    question = Question(0, NOON + 1, DAY, (Group.TENANT, Group.REVISION))
    found = await ledger.sums(question)
    told = [(sums.bucket, sums.group["tenant"], sums.requests) for sums in found]
    today = NOON - DAY // 2
    assert told == [(today - 3 * DAY, "acme", 1), (today, "acme", 1), (today, "bell", 1)]
    await ledger.sweep()
    assert len(await ledger.sums(question)) == 2
    await database.close()


async def test_either_server_tells_what_was_used_on_both(postgres_url: str, tmp_path: Path) -> None:
    sections = {"state": {"url": postgres_url.replace("postgresql+asyncpg", "postgresql")}}

    async def used(client: httpx.AsyncClient) -> int:
        found = (await client.get("/v1/usage")).json()["data"]
        return sum(r["num_model_requests"] for bucket in found for r in bucket["results"])

    async with (
        serve_echo(tmp_path / "a", state=sections["state"] | {"dir": tmp_path / "a/s"}) as a,
        serve_echo(tmp_path / "b", state=sections["state"] | {"dir": tmp_path / "b/s"}) as b,
        httpx.AsyncClient(base_url=a.url, timeout=30) as http_a,
        httpx.AsyncClient(base_url=b.url, timeout=30) as http_b,
    ):
        for client in (http_a, http_b, http_b):
            answer = await client.post("/v1/chat/completions", json=CHAT)
            assert answer.status_code == 200
        for client in (http_a, http_b):
            async with asyncio.timeout(20):
                while await used(client) != 3:
                    await asyncio.sleep(POLL_S)
