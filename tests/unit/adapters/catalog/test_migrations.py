"""What an older catalog holds is there after an update."""

import sqlite3
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from veneer_adapters.catalog.database import Database
from veneer_adapters.catalog.replays import Replay, Replays
from veneer_server.conversations.keeping import MIGRATIONS

REVISION = (
    "INSERT INTO revisions VALUES ('a', 1, 'd', 0, '{}', '{}', 'ready', NULL, NULL, NULL, 1, NULL)"
)
ADAPTER = "INSERT INTO adapters VALUES ('a', 0, '{}', 1, 0, NULL, 1)"
ANSWERS = (
    "INSERT INTO answers VALUES"
    """ ('known', 'r1', 201, '{"a":1}', 50), ('lost', 'r2', 0, '', 50)"""
)


def at_version(path: Path, version: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(files("veneer_adapters.catalog") / "migrations"))
    engine = sa.create_engine(f"sqlite:///{path}")
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, version)
    finally:
        engine.dispose()


async def test_remembered_answers_and_permissions_survive_the_second_migration(
    tmp_path: Path,
) -> None:
    path = tmp_path / "catalog.db"
    at_version(path, "0001")
    with closing(sqlite3.connect(path)) as old, old:
        for statement in (ADAPTER, REVISION, ANSWERS):
            old.execute(statement)
    database = await Database.open(path)
    try:
        replays = Replays(database, now=lambda: 60.0)
        assert await replays.begin("known", "r1") == Replay("r1", '201 {"a":1}')
        assert await replays.begin("lost", "r2") == Replay("r2", None)
        async with database.reading() as connection:
            asked = "SELECT allow_no_effect, training FROM revisions"
            found = await connection.execute(sa.text(asked))
            assert tuple(found.one()) == (1, None)
    finally:
        await database.close()


async def test_further_migrations_have_a_version_of_their_own(tmp_path: Path) -> None:
    for _ in range(2):
        database = await Database.open(tmp_path / "catalog.db", further=(MIGRATIONS,))
        await database.close()
    with closing(sqlite3.connect(tmp_path / "catalog.db")) as made:
        versions = [
            made.execute(f"SELECT version_num FROM {table}").fetchone()[0]  # noqa: S608
            for table in ("alembic_version", MIGRATIONS.version_table)
        ]
    assert versions == ["0004", "0008"]
    older = await Database.open(tmp_path / "catalog.db")
    await older.close()
