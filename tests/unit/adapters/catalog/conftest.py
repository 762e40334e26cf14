"""Fixtures of the tests of the catalog."""

import pytest_asyncio

from unit.adapters.catalog.shelves import open_catalog
from veneer_adapters.catalog.catalog import Catalog
from veneer_adapters.catalog.database import Database


@pytest_asyncio.fixture
async def catalog(database: Database) -> Catalog:
    return await open_catalog(database)
