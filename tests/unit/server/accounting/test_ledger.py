"""Every request gets one row, also when the database was away for a while."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from veneer_adapters.catalog.database import Database
from veneer_adapters.errors import AdapterUnavailable
from veneer_server.accounting import ledger as module
from veneer_server.accounting.ledger import Ledger
from veneer_server.accounting.queries import Group, Question, buckets
from veneer_server.accounting.records import UsageRecord
from veneer_server.conversations.keeping import MIGRATIONS

DAY = 86400
NOON = 20_000 * DAY + DAY // 2
ALL = Question(0, NOON * 2, DAY)


@pytest_asyncio.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = await Database.open(tmp_path / "catalog.db", further=(MIGRATIONS,))
    yield opened
    await opened.close()


def record(**more: Any) -> UsageRecord:
    usual = {
        "time": NOON,
        "tenant": "acme",
        "key": "k1",
        "endpoint": "chat",
        "adapter": "acme/a",
        "revision": 1,
        "outcome": "completed",
        "input_tokens": 10,
        "cached_tokens": 4,
        "output_tokens": 5,
        "queue_s": 0.25,
        "cold_start_s": 0.5,
        "total_s": 2.0,
    }
    return UsageRecord(**{**usual, **more})


async def test_the_sums_are_those_of_the_rows(database: Database) -> None:
    ledger = Ledger(database, days=90)
    for number in range(1200):
        ledger.note(record(tenant="acme" if number % 3 else "bell"))
    [bell, acme] = sorted(
        await ledger.sums(Question(0, NOON + 1, DAY, (Group.TENANT,))),
        key=lambda found: found.requests,
    )
    assert (acme.group, acme.requests, bell.requests) == ({"tenant": "acme"}, 800, 400)
    assert (acme.input_tokens, acme.cached_tokens, acme.output_tokens) == (8000, 3200, 4000)
    assert (acme.queue_s, acme.cold_start_s, acme.total_s) == (200.0, 400.0, 1600.0)
    assert acme.bucket == NOON - DAY // 2


async def test_only_what_was_asked_for_is_in_the_sums(database: Database) -> None:
    ledger = Ledger(database, days=90)
    for time in (NOON - 1, NOON, NOON + 1):
        for tenant in ("acme", None):
            ledger.note(record(time=time, tenant=tenant))
    question = Question(NOON, NOON + 1, DAY, (), ((Group.TENANT, ("acme", "bell")),))
    [found] = await ledger.sums(question)
    assert (found.requests, found.group) == (1, {})


async def test_rows_wait_while_the_database_is_away_and_none_is_lost_or_twice(
    database: Database, tmp_path: Path
) -> None:
    ledger = Ledger(database, days=90)
    (tmp_path / "catalog.db").rename(tmp_path / "away.db")
    with capture_logs() as logged:
        for _ in range(3):
            ledger.note(record())
            await ledger._try()
    assert [line["event"] for line in logged] == ["usage not written"]
    with pytest.raises(AdapterUnavailable):
        await ledger.flush()
    (tmp_path / "away.db").rename(tmp_path / "catalog.db")
    [found] = await ledger.sums(ALL)
    assert found.requests == 3


async def test_a_row_that_is_written_twice_counts_once(database: Database) -> None:
    ledger, same = Ledger(database, days=90), record()
    for _ in range(2):  # a connection that broke after the commit
        ledger.note(same)
        await ledger.flush()
    [found] = await ledger.sums(ALL)
    assert found.requests == 1


async def test_beyond_what_may_wait_rows_are_lost_and_counted(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 2)
    lost: list[None] = []
    ledger = Ledger(database, days=90, lost=lambda: lost.append(None))
    for _ in range(5):
        ledger.note(record())
    assert len(lost) == 3
    await ledger.close()
    [found] = await ledger.sums(ALL)
    assert found.requests == 2


async def test_what_is_older_than_it_may_be_goes(database: Database) -> None:
    ledger = Ledger(database, days=2, now=lambda: NOON)
    for _ in range(700):
        ledger.note(record(time=NOON - 2 * DAY - 1))
    ledger.note(record(time=NOON - 2 * DAY))
    await ledger.flush()
    await ledger.sweep()
    [found] = await ledger.sums(ALL)
    assert found.requests == 1


def test_buckets_are_whole_but_for_the_first_and_the_last() -> None:
    assert buckets(5, 25, 10) == [(5, 10), (10, 20), (20, 25)]
    assert buckets(10, 20, 10) == [(10, 20)]
    assert buckets(12, 13, 10) == [(12, 13)]
