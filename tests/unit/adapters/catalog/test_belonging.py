"""Which database may stand beside stored adapters, and when its file is still the one opened."""

import asyncio
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from support import builders
from veneer_adapters import state_file
from veneer_adapters.catalog.catalog import Arrival, Catalog
from veneer_adapters.catalog.database import Database
from veneer_adapters.catalog.revision import Source
from veneer_adapters.errors import CatalogGone, CatalogMissing, StorageFailed
from veneer_adapters.store.ownership import has_content, owner_of, set_owner


async def fill(path: Path) -> str:
    """Let the database name one adapter; return its identity."""
    database = await Database.open(path)
    try:
        catalog = await Catalog.open(database, path.with_name)
        made = builders.revision("a", "1")
        await catalog.add(Arrival("a", made.digest, made.path, made.manifest, Source("path", "/a")))
        return database.identity
    finally:
        await database.close()


async def opened(path: Path, *, known: str | None) -> str:
    database = await Database.open(path, may_be_new=False, known=known)
    await database.close()
    return database.identity


async def test_a_database_that_may_not_be_new_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(CatalogMissing, match="--new-catalog"):
        await opened(tmp_path / "catalog.db", known=None)
    assert [*tmp_path.iterdir()] == []  # noqa: ASYNC240 - nothing else runs


async def test_an_empty_database_is_the_one_that_is_known_or_none(tmp_path: Path) -> None:
    # A server that was killed while it published its first adapter left content and no name.
    path = tmp_path / "catalog.db"
    database = await Database.open(path)
    await database.close()
    assert await opened(path, known=database.identity) == database.identity
    with pytest.raises(CatalogMissing):
        await opened(path, known="another")
    with pytest.raises(CatalogMissing):
        await opened(path, known=None)


async def test_a_database_that_names_an_adapter_is_taken_whatever_is_known(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    identity = await fill(path)
    assert await opened(path, known="another") == identity
    assert await opened(path, known=None) == identity


async def test_two_databases_have_two_identities(tmp_path: Path) -> None:
    assert await fill(tmp_path / "a.db") != await fill(tmp_path / "b.db")


async def test_a_file_that_is_gone_is_neither_read_nor_written(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    database = await Database.open(path)
    try:
        path.unlink()
        with pytest.raises(CatalogGone):
            async with database.reading():
                raise NotImplementedError
        for writing in (database.writing, database.noting):
            with pytest.raises(CatalogGone):
                async with writing():
                    raise NotImplementedError
    finally:
        await database.close()


def move_into_file(path: Path) -> None:
    """Let SQLite move its log into the file, as it does now and then."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")


async def counted_up(database: Database) -> None:
    async with database.writing():
        pass


async def test_a_file_that_sqlite_itself_has_changed_is_the_one_that_was_opened(
    tmp_path: Path,
) -> None:
    path = tmp_path / "catalog.db"
    await fill(path)
    database = await Database.open(path)
    try:
        for _ in range(3):
            await counted_up(database)
            move_into_file(path)
            path.touch()
        await counted_up(database)
    finally:
        await database.close()


async def test_a_file_into_which_sqlite_is_moving_changes_is_waited_for(tmp_path: Path) -> None:
    # A move writes the first page first, and that counts pages that are not written yet.
    path = tmp_path / "catalog.db"
    database = await Database.open(path)
    try:
        before = path.read_bytes()
        async with database.writing() as (connection, _):
            await connection.execute(sa.text("CREATE TABLE large AS SELECT zeroblob(100000) AS x"))
        move_into_file(path)
        after = path.read_bytes()
        with path.open("r+b") as file:
            file.truncate(len(before))
        writing = asyncio.create_task(counted_up(database))
        await asyncio.sleep(0)
        with path.open("r+b") as file:
            file.write(after)
        await asyncio.wait_for(writing, 10)
        assert database.trouble is None
    finally:
        await database.close()


async def test_looks_beside_writes_that_let_the_file_grow_find_nothing_wrong(
    tmp_path: Path,
) -> None:
    database = await Database.open(tmp_path / "catalog.db")
    try:
        async with database.noting() as connection:
            await connection.execute(sa.text("CREATE TABLE large (x BLOB)"))

        async def grow() -> None:
            for _ in range(40):
                async with database.noting() as connection:
                    await connection.execute(sa.text("INSERT INTO large VALUES (zeroblob(400000))"))

        growing = asyncio.create_task(grow())
        while not growing.done():
            async with database.reading():
                await asyncio.sleep(0)
        await growing
    finally:
        await database.close()


def another(path: Path) -> bytes:
    return path.with_name("other.db").read_bytes()


def backup(path: Path) -> bytes:
    return path.with_name("backup.db").read_bytes()


def noise(_path: Path) -> bytes:
    return bytes(range(256)) * 1024


def half(path: Path) -> bytes:
    return path.read_bytes()[: path.stat().st_size // 2]


@pytest.mark.slow
@pytest.mark.parametrize("other", [another, backup, noise, half])
async def test_a_file_that_is_overwritten_in_place_is_gone_for_good(
    tmp_path: Path, other: Callable[[Path], bytes]
) -> None:
    path = tmp_path / "catalog.db"
    await fill(path)
    await fill(path.with_name("other.db"))
    shutil.copy(path, path.with_name("backup.db"))
    database = await Database.open(path)
    try:
        await counted_up(database)
        move_into_file(path)
        await counted_up(database)
        path.write_bytes(other(path))
        for _ in range(2):
            with pytest.raises(CatalogGone):
                await counted_up(database)
            with pytest.raises(CatalogGone):
                async with database.reading():
                    raise NotImplementedError
        assert database.trouble is not None
        assert "overwritten" in database.trouble
    finally:
        await database.close()


async def test_a_log_that_was_removed_is_gone_for_good_whoever_makes_another(
    tmp_path: Path,
) -> None:
    path = tmp_path / "catalog.db"
    database = await Database.open(path)
    log = path.with_name("catalog.db-wal")
    try:
        await counted_up(database)
        log.unlink()
        log.touch()
        for _ in range(2):
            with pytest.raises(CatalogGone):
                await counted_up(database)
            with pytest.raises(CatalogGone):
                async with database.reading():
                    raise NotImplementedError
    finally:
        await database.close()


def by_another(path: Path, *statements: str) -> None:
    """Let another program work on the database, as an operator's does."""
    program = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
        " [c.execute(s) for s in sys.argv[2:]]; c.close()"
    )
    command = [sys.executable, "-c", program, str(path), *statements]
    subprocess.run(command, check=True, timeout=60)


async def filled(database: Database, path: Path) -> None:
    """Let the file be some megabytes long, and a change be in the log alone."""
    async with database.noting() as connection:
        await connection.execute(sa.text("CREATE TABLE large AS SELECT zeroblob(4000000) AS x"))
    await counted_up(database)
    move_into_file(path)
    await counted_up(database)


async def test_a_database_that_an_operator_vacuums_is_the_one_that_was_opened(
    tmp_path: Path,
) -> None:
    path = tmp_path / "catalog.db"
    database = await Database.open(path)
    try:
        await filled(database, path)
        before = path.stat().st_size
        truncate = "PRAGMA wal_checkpoint(TRUNCATE)"
        by_another(path, "DELETE FROM large", "VACUUM", truncate)
        assert path.stat().st_size < before
        await counted_up(database)
        by_another(path, truncate)
        await counted_up(database)
        assert database.trouble is None
    finally:
        await database.close()


@pytest.mark.parametrize("end", ["-wal", "-shm"])
async def test_a_file_beside_the_database_that_was_removed_is_noticed(
    tmp_path: Path, end: str
) -> None:
    path = tmp_path / "catalog.db"
    database = await Database.open(path)
    try:
        await filled(database, path)
        path.with_name(path.name + end).unlink()
        with pytest.raises(CatalogGone):
            await counted_up(database)
    finally:
        await database.close()


async def test_a_log_that_was_emptied_takes_no_change_and_spoils_no_file(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    database = await Database.open(path)
    try:
        await filled(database, path)
        await counted_up(database)
        path.with_name("catalog.db-wal").write_bytes(b"")
        for _ in range(2):
            with pytest.raises(CatalogGone):
                await counted_up(database)
    finally:
        await database.close()
    with closing(sqlite3.connect(path)) as again:
        assert again.execute("PRAGMA quick_check").fetchall() == [("ok",)]


async def test_the_log_stays_the_same_while_connections_come_and_go(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    database = await Database.open(path)
    try:
        for _ in range(3):
            await asyncio.gather(*(counted_up(database) for _ in range(20)))
            with closing(sqlite3.connect(path)) as other, other:
                other.execute("UPDATE clock SET version = version + 1")
        await counted_up(database)
    finally:
        await database.close()


async def test_a_write_that_succeeds_ends_the_trouble(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    database = await Database.open(path)
    away = path.with_name("away.db")
    try:
        path.rename(away)
        with pytest.raises(CatalogGone):
            await database.require_writable(by_writing=True)
        assert database.trouble is not None
        away.rename(path)
        await database.require_writable(by_writing=True)
        assert database.trouble is None
    finally:
        await database.close()


async def test_a_disk_without_room_is_trouble_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = await Database.open(tmp_path / "catalog.db")
    try:
        await database.require_writable(by_writing=False)
        with monkeypatch.context() as full:
            full.setattr(state_file, "_ROOM_BYTES", 1 << 60)
            with pytest.raises(StorageFailed, match="full"):
                await database.require_writable(by_writing=False)
            assert database.trouble is not None
        await database.require_writable(by_writing=False)
        assert database.trouble is None
    finally:
        await database.close()


def test_a_store_knows_its_catalog(tmp_path: Path) -> None:
    root = tmp_path / "store"
    assert owner_of(root) is None
    assert not has_content(root)
    set_owner(root, "one")
    set_owner(root, "two")
    assert owner_of(root) == "two"
    (root / "sha256" / "ab" / "abc").mkdir(parents=True)
    assert has_content(root)


def test_a_store_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")
    with pytest.raises(StorageFailed, match="cannot be used"):
        set_owner(tmp_path / "store", "one")
