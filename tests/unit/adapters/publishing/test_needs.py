"""The ranks that slots must have room for, known before anything is verified."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from support import builders
from veneer_adapters.artifact.files import CONFIG_FILE
from veneer_adapters.catalog.catalog import Arrival, Catalog
from veneer_adapters.catalog.database import Database
from veneer_adapters.errors import RankTooLarge
from veneer_adapters.publishing.needs import ranks_of
from veneer_adapters.sources.base import Root


@pytest_asyncio.fixture
async def catalog(tmp_path: Path) -> AsyncIterator[Catalog]:
    database = await Database.open(tmp_path / "catalog.db")
    yield await Catalog.open(database, lambda digest: tmp_path / digest)
    await database.close()


def put(folder: Path, **config: object) -> None:
    builders.write(folder, config_json=json.dumps(builders.config(**config)).encode())


async def test_what_the_catalog_has_and_what_lies_in_the_folders_counts_once(
    tmp_path: Path, catalog: Catalog
) -> None:
    root = tmp_path / "adapters"
    known = Arrival("known", "d" * 64, tmp_path, builders.MANIFEST, builders.FOLDER)
    await catalog.add(known)
    put(root / "known", r=8)
    put(root / "new", r=16, rank_pattern={"q_proj": 40})
    assert sorted(ranks_of(catalog, [Root(root)])) == [8, 40]


async def test_an_adapter_that_was_refused_for_its_rank_counts_at_the_next_start(
    tmp_path: Path, catalog: Catalog
) -> None:
    root = tmp_path / "adapters"
    put(root / "large", r=128)
    catalog.fail("large", RankTooLarge("The rank is 128."), builders.FOLDER)
    assert ranks_of(catalog, [Root(root)]) == [128]


async def test_what_cannot_be_read_is_left_out(tmp_path: Path, catalog: Catalog) -> None:
    root = tmp_path / "adapters"
    put(root / "good")
    put(root / "broken")
    (root / "broken" / CONFIG_FILE).write_text('{"r": ' + "9" * 5000)
    (root / "outside").symlink_to("/etc")
    assert ranks_of(catalog, [Root(root), Root(tmp_path / "absent")]) == [4]
