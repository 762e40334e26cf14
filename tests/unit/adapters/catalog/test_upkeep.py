"""The regular work on the catalog: one part that fails keeps no other from being done."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection
from structlog.testing import capture_logs

from support import builders
from veneer_adapters.catalog import upkeep
from veneer_adapters.catalog.catalog import Arrival, Catalog
from veneer_adapters.catalog.database import Database
from veneer_adapters.catalog.repository import Repository
from veneer_adapters.catalog.revision import Source
from veneer_adapters.catalog.upkeep import Upkeep
from veneer_adapters.catalog.usage import Usage
from veneer_adapters.errors import StorageFailed


class Stale(Catalog):
    """A catalog that could not be refreshed lately."""

    refreshed = 0
    broken = True

    async def refresh(self) -> None:
        self.refreshed += 1
        if self.broken:
            raise StorageFailed("The catalog could not be written or read.")


@asynccontextmanager
async def running(catalog: Catalog, usage: Usage, database: Database) -> AsyncIterator[None]:
    task = asyncio.create_task(Upkeep(catalog, usage, database).run())
    try:
        async with asyncio.timeout(10):
            yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_usage_is_written_also_when_the_catalog_cannot_be_read_and_each_failure_is_told_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "REFRESH_S", 0)
    catalog, usage = Stale(Repository(database, Path)), Usage(database)
    made = builders.revision("a", "1")
    source = Source("path", "/a")
    await catalog.add(Arrival("a", made.digest, made.path, made.manifest, source))
    usage.count("a")
    with capture_logs() as logs:
        async with running(catalog, usage, database):
            while await usage.most_used(1) != ["a"]:
                await asyncio.sleep(0)
            catalog.broken, seen = False, catalog.refreshed
            while catalog.refreshed < seen + 2:
                await asyncio.sleep(0)
            catalog.broken, seen = True, catalog.refreshed
            while catalog.refreshed < seen + 2:
                await asyncio.sleep(0)
    assert [line["event"] for line in logs] == ["catalog not refreshed"] * 2


class Troubled(Database):
    """A database that can be written again when the test says so."""

    tries = 0
    broken = True

    @asynccontextmanager
    async def noting(self) -> AsyncIterator[AsyncConnection]:
        self.tries += 1
        if self.broken:
            raise StorageFailed("The catalog could not be written or read.")
        async with super().noting() as connection:
            yield connection


async def test_a_database_in_trouble_is_tried_at_every_turn_until_it_is_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "REFRESH_S", 0)
    database = await Troubled.open(tmp_path / "catalog.db")
    assert isinstance(database, Troubled)
    catalog = Stale(Repository(database, Path))
    try:
        database.trouble = "The disk is full."
        async with running(catalog, Usage(database), database):
            while database.tries < 3:
                await asyncio.sleep(0)
            assert catalog.refreshed == 3
            database.broken = False
            while database.trouble:
                await asyncio.sleep(0)
    finally:
        await database.close()
