"""A state folder as a server's first start leaves it, without the time that its migrations take."""

import sqlite3
import tempfile
from pathlib import Path
from uuid import uuid4

from veneer_adapters.catalog.database import Database
from veneer_server.conversations.keeping import MIGRATIONS
from veneer_server.settings import StateSettings

_TABLES: list[bytes] = []
"""The migrated database of this process, once somebody needed it."""


async def begin_state(state: StateSettings) -> None:
    """Make the folder and its database, with tables and an identity of its own.

    Whatever has state already, or has it in PostgreSQL, stays as it is.
    """
    database = state.database()
    if state.dir.exists() or not isinstance(database, Path):
        return
    await prepare_tables()
    state.dir.mkdir(parents=True)
    database.write_bytes(_TABLES[0])
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE clock SET identity = ?", [uuid4().hex])
    connection.close()


async def prepare_tables() -> None:
    """Migrate a database that this process then copies; a second call does nothing."""
    if not _TABLES:
        _TABLES.append(await _migrated())


async def _migrated() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "catalog.db"
        database = await Database.open(file, further=(MIGRATIONS,))
        await database.close()
        connection = sqlite3.connect(file)
        connection.execute(
            "PRAGMA journal_mode=DELETE"
        )  # whatever is in the log goes into the file
        connection.close()
        return file.read_bytes()
