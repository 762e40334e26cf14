"""Fixtures of the adapters' unit tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from veneer_adapters.catalog.database import Database


@pytest_asyncio.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = await Database.open(tmp_path / "catalog.db")
    try:
        yield database
    finally:
        await database.close()
