"""A write whose caller is cancelled leaves the database to the next one."""

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from veneer_adapters.catalog.database import Database


@pytest.fixture
def no_garbage_is_collected() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


async def write(database: Database) -> int:
    async with database.writing() as (_, version):
        return version


@pytest.mark.usefixtures("no_garbage_is_collected")
async def test_a_write_that_is_cancelled_at_any_moment_lets_the_next_one_begin(
    tmp_path: Path,
) -> None:
    database = await Database.open(tmp_path / "catalog.db")
    try:
        for turns in range(200):
            writing = asyncio.create_task(write(database))
            for _ in range(turns):
                await asyncio.sleep(0)
            writing.cancel()
            left = await asyncio.gather(writing, return_exceptions=True)
            async with asyncio.timeout(60):
                await write(database)
            del writing, left
    finally:
        await database.close()
