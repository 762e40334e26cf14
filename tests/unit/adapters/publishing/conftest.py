"""Fixtures of the tests of publishing."""

from pathlib import Path

import pytest_asyncio

from unit.adapters.publishing.rig import Rig
from veneer_adapters.catalog.catalog import Catalog
from veneer_adapters.catalog.database import Database
from veneer_adapters.store.store import Store


@pytest_asyncio.fixture
async def rig(tmp_path: Path, database: Database) -> Rig:
    return Rig(tmp_path, await Catalog.open(database, Store(tmp_path / "store").path))
