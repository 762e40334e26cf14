"""Work in rows: one server at a time has it, lists are cut, what is over goes with its parts."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import sqlalchemy as sa

from veneer_adapters.catalog.database import Database
from veneer_server.worklist.kept import KeptWork
from veneer_server.worklist.pages import Page
from veneer_server.worklist.statements import BATCH, Statements

METADATA = sa.MetaData()
WORK = sa.Table(
    "work",
    METADATA,
    sa.Column("id", sa.String(16), primary_key=True),
    *(sa.Column(name, sa.BigInteger) for name in ("number", "created", "beat")),
    *(sa.Column(name, sa.String(16)) for name in ("owner", "status", "runner")),
)
PARTS = sa.Table("parts", METADATA, sa.Column("work", sa.String(16)))
STATEMENTS = Statements(WORK, ("open",), lambda row: str(row["id"]), parts=(PARTS.c.work,))
DAY_S = 24 * 3600
NOW = 100 * DAY_S


class OutOfOrder(Exception):
    """The work cannot be read or written now."""


@pytest_asyncio.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = await Database.open(tmp_path / "catalog.db")
    yield database
    await database.close()


@pytest_asyncio.fixture
async def kept(database: Database) -> KeptWork[str]:
    async with database.writing() as (connection, _):
        await connection.run_sync(METADATA.create_all)
    return KeptWork(database, STATEMENTS, OutOfOrder, now=lambda: NOW)


async def fill(database: Database, *ids: str, **more: Any) -> None:
    usual = {"owner": "me", "status": "open", "created": NOW}
    rows = [{"id": id_, "number": at, **usual, **more} for at, id_ in enumerate(ids)]
    async with database.writing() as (connection, _):
        await connection.execute(sa.insert(WORK), rows)
        await connection.execute(sa.insert(PARTS), [{"work": id_} for id_ in ids])


async def count(database: Database, table: sa.Table) -> int:
    async with database.reading() as connection:
        asked = sa.select(sa.func.count()).select_from(table)
        return (await connection.execute(asked)).scalar_one()


async def test_one_server_has_the_work_until_it_was_not_heard_of(
    database: Database, kept: KeptWork[str]
) -> None:
    await fill(database, "a")
    assert await kept.claim("a", "one", silent_s=30)
    assert not await kept.claim("a", "two", silent_s=30)
    assert await kept.claim("a", "one", silent_s=30)
    assert await kept.claim("a", "two", silent_s=-1)  # as if more time had passed than that
    assert not await kept.claim("a", "one", silent_s=30)
    assert not await kept.claim("b", "one", silent_s=30)


async def test_a_claim_whose_caller_goes_away_is_written_whole(
    database: Database, kept: KeptWork[str]
) -> None:
    await fill(database, "a")
    claiming = asyncio.create_task(kept.claim("a", "one", silent_s=30))
    await asyncio.sleep(0)
    claiming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await claiming
    assert not await kept.claim("a", "two", silent_s=30)


async def test_a_page_has_the_owners_newest_first_and_says_whether_there_is_more(
    database: Database, kept: KeptWork[str]
) -> None:
    await fill(database, "a", "b", "c")
    await fill(database, "other", owner="other")
    async with database.reading() as connection:
        page = STATEMENTS.page
        assert await page(connection, "me", after=None, limit=2) == Page(["c", "b"], more=True)
        assert await page(connection, "me", after=1, limit=2) == Page(["a"], more=False)
        only = WORK.c.id == "b"
        assert await page(connection, "me", only, after=None, limit=2) == Page(["b"], more=False)


async def test_what_has_not_ended_is_found_the_oldest_first(
    database: Database, kept: KeptWork[str]
) -> None:
    await fill(database, "a", "b")
    await fill(database, "over", status="ended")
    assert await kept.unfinished() == ["a", "b"]
    assert (await kept.look("over"), await kept.look("nothing")) == ("over", None)
    async with database.reading() as connection:
        assert await STATEMENTS.count_unfinished(connection, "me") == 2


async def test_old_work_that_ended_is_removed_with_its_parts_however_much_it_is(
    database: Database, kept: KeptWork[str]
) -> None:
    old = {"created": NOW - 10 * DAY_S}
    await fill(database, *(f"old{n}" for n in range(BATCH + 1)), status="ended", **old)
    await fill(database, "late", status="ended")
    await fill(database, "open", **old)
    await kept.delete_old(9)
    assert [await kept.look(id_) for id_ in ("old0", "late", "open")] == [None, "late", "open"]
    assert (await count(database, WORK), await count(database, PARTS)) == (2, 2)


async def test_a_database_that_cannot_be_used_is_told_in_the_words_of_the_work(
    database: Database,
) -> None:
    kept = KeptWork(database, STATEMENTS, OutOfOrder)  # its tables were never made
    with pytest.raises(OutOfOrder):
        await kept.look("a")
    with pytest.raises(OutOfOrder):
        await kept.claim("a", "one", silent_s=30)
