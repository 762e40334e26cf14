"""Fixtures of the adapters' unit tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from veneer_adapters.catalog.database import Database


@pytest_asyncio.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
async def database(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    """An empty catalog database, of each kind."""
    where: str | Path = tmp_path / "catalog.db"
    if request.param == "postgresql":
        where = request.getfixturevalue("postgres_url")
    database = await Database.open(where)
    try:
        yield database
    finally:
        await database.close()
