"""The database that keeps the catalog: SQLite in the state folder, or PostgreSQL by URL.

SQLite runs in WAL mode with full flushes, so a change that was answered survives a power loss. In
both databases writers take turns, also across processes: each one first counts up the same row.
"""

import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy.exc import (
    DatabaseError,
    DBAPIError,
    InterfaceError,
    MissingGreenlet,
    SQLAlchemyError,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from veneer_adapters.catalog import tables
from veneer_adapters.errors import CatalogMissing, CatalogUnreadable, StateBusy, StorageFailed
from veneer_adapters.faults import fault_point
from veneer_adapters.state_file import DatabaseFile, is_nothing

BUSY_TIMEOUT_S = 5.0
"""How long a writer waits for another process at most, in seconds."""

_CONNECT_TIMEOUT_S = 3.0
_ANSWER_TIMEOUT_S = BUSY_TIMEOUT_S + 1.0
"""How long to wait for an answer at most: a database behind a broken network never gives one."""

_SQLITE = "sqlite+aiosqlite"
_POSTGRESQL = {
    "timeout": _CONNECT_TIMEOUT_S,
    "command_timeout": _ANSWER_TIMEOUT_S,
    "server_settings": {"lock_timeout": f"{BUSY_TIMEOUT_S:g}s"},
}
_MIGRATION_LOCK = 0x56454E45
"""Any number that no other program uses with the same database."""


@dataclass(frozen=True, slots=True)
class Migrations:
    """A chain of migrations, for tables that no other chain touches."""

    folder: str
    """Where Alembic finds ``env.py`` and ``versions``."""
    version_table: str
    """The table that says how far the chain has come; no two chains share one."""


_OWN = Migrations(str(files("veneer_adapters.catalog") / "migrations"), "alembic_version")


class Database:
    """One open database, migrated to the schema of this version."""

    def __init__(
        self,
        engine: AsyncEngine,
        identity: str,
        file: DatabaseFile | None,
        keeper: AsyncConnection | None,
    ) -> None:
        """Own ``engine``, and ``keeper``: a connection that keeps the file's log there."""
        self._engine = engine
        self._file = file
        self._keeper = keeper
        self.trouble: str | None = None
        """Why it could not be read or written; None after a write that succeeded."""
        self.identity = identity
        """Drawn when the database was made; copies of it share it."""

    @property
    def shared(self) -> bool:
        """Whether other servers may use the same database at the same time."""
        return self._engine.dialect.name != "sqlite"

    @classmethod
    async def open(
        cls,
        url: str | Path,
        *,
        may_be_new: bool = True,
        known: str | None = None,
        further: Sequence[Migrations] = (),
    ) -> Self:
        """Return the database at ``url``; create or migrate it if necessary.

        A path means SQLite in that file. Unless the database ``may_be_new``, it must name an
        adapter or be the ``known`` one: the one with this identity. ``further`` migrations make
        the tables of others; they run after the catalog's own, in the same transaction.

        Raises:
            CatalogMissing: it may not be new, but it is. Nothing was created.
            CatalogUnreadable: the database is damaged, newer than this version, or not reachable.
        """
        file = url if isinstance(url, Path) else None
        if file is not None and not may_be_new and is_nothing(file):
            raise _missing(str(file))
        engine = _create(url if isinstance(url, str) else f"{_SQLITE}:///{url}")
        name = _shown(engine.url)
        try:
            async with engine.connect() as connection:
                await connection.run_sync(_require_sound)
                await connection.run_sync(_migrate, (_OWN, *further))
                identity = await connection.run_sync(_identity_of)
                if not may_be_new and identity != known and await connection.run_sync(_is_empty):
                    raise _missing(name)
                await connection.commit()
                if file is not None:
                    await connection.run_sync(_move_into_file)
            keeper = await engine.connect() if file else None
            return cls(engine, identity, DatabaseFile(file) if file else None, keeper)
        except (SQLAlchemyError, CommandError, OSError, sqlite3.Error) as error:
            await engine.dispose()
            raise CatalogUnreadable(_explain(name, error)) from error
        except CatalogMissing:
            await engine.dispose()
            raise

    async def close(self) -> None:
        """Close every connection; closing twice is a no-op."""
        if self._keeper is not None:
            await self._keeper.close()
        await self._engine.dispose()

    @asynccontextmanager
    async def writing(
        self, *, of_catalog: bool = False
    ) -> AsyncIterator[tuple[AsyncConnection, int]]:
        """Give a connection and the new version of the clock; commit everything at the end.

        When the block raises, nothing is committed. The catalog's own writes pass fault points.

        Raises:
            StateBusy: another process was writing for too long.
            StorageFailed: the database cannot be written, or its file is gone.
        """
        async with self._errors(writing=True):
            if of_catalog:
                fault_point("catalog.begin")
            async with self._engine.begin() as connection:
                counted = await connection.execute(
                    sa.update(tables.clock)
                    .values(version=tables.clock.c.version + 1)
                    .returning(tables.clock.c.version)
                )
                version = counted.scalar_one()
                yield connection, version
                self._require_log()
                if of_catalog:
                    fault_point("catalog.commit")
            if self._file is not None:
                self._file.committed(version)
            if of_catalog:
                fault_point("catalog.committed")

    @asynccontextmanager
    async def noting(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection for rows that others need not see soon; raises as ``writing``."""
        async with self._errors(writing=True), self._engine.begin() as connection:
            yield connection
            self._require_log()

    async def require_writable(self, *, by_writing: bool) -> None:
        """Return when changes can be written, so that ``trouble`` is up to date.

        This looks at the disk. ``by_writing``, and while there is trouble, it also writes what is
        there already.

        Raises:
            StateBusy, StorageFailed: as ``writing``, or there is hardly any room.
        """
        async with self._errors():
            if self._file is not None:
                self._file.require_room()
        if by_writing or self.trouble:
            again = sa.update(tables.clock).values(version=tables.clock.c.version)
            async with self.noting() as connection:
                await connection.execute(again)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection whose queries all see the same state of the database.

        Raises:
            StorageFailed: the database cannot be read, or its file is gone.
        """
        async with self._errors(), self._engine.connect() as connection:
            if self.shared:
                await connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection
            self._require_log()

    @asynccontextmanager
    async def _errors(self, *, writing: bool = False) -> AsyncIterator[None]:
        try:
            if self._file is not None:
                await self._file.require_in_place()
            with _write_errors():
                yield
        except StorageFailed as error:
            self.trouble = str(error)
            raise
        if writing:
            self.trouble = None

    def _require_log(self) -> None:
        if self._file is not None:
            self._file.require_log()


def _create(url: str) -> AsyncEngine:
    if not url.startswith("sqlite"):
        return create_async_engine(url, pool_pre_ping=True, connect_args=_POSTGRESQL)
    engine = create_async_engine(url)
    sa.event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    sa.event.listen(engine.sync_engine, "invalidate", _release_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout={int(BUSY_TIMEOUT_S * 1000)}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _release_sqlite(connection: Any, _record: object, _error: object) -> None:
    """End the transaction of a connection that is given up, because its task was cancelled.

    To close it is not enough: SQLite keeps the lock while a statement is left that nobody read to
    its end, and that is until Python collects its garbage.
    """
    # One that is closed already, or whose garbage is collected, has no transaction to end.
    with suppress(sqlite3.Error, ValueError, MissingGreenlet):
        connection.rollback()


def _require_sound(connection: sa.Connection) -> None:
    if connection.dialect.name != "sqlite":
        return
    found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
    connection.rollback()
    if found != "ok":
        raise sqlite3.DatabaseError(str(found))


def _move_into_file(connection: sa.Connection) -> None:
    """Move what is in the log into the file, so that the file says whose it is."""
    # A database that may only be read is served too.
    with suppress(DBAPIError):
        connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")
    connection.rollback()


def _identity_of(connection: sa.Connection) -> str:
    return str(connection.scalars(sa.select(tables.clock.c.identity)).one())


def _is_empty(connection: sa.Connection) -> bool:
    return connection.scalars(sa.select(tables.adapters.c.name).limit(1)).first() is None


def _migrate(connection: sa.Connection, chains: Sequence[Migrations]) -> None:
    if connection.dialect.name == "postgresql":
        # Two servers that start at once must not both create the tables.
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
    else:
        # Python's sqlite3 begins no transaction for DDL, so half a migration could stay.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    for chain in chains:
        config = Config()
        config.set_main_option("script_location", chain.folder)
        config.attributes.update(connection=connection, version_table=chain.version_table)
        command.upgrade(config, "head")


@contextmanager
def _write_errors() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        if "locked" in str(error.orig) or "LockNotAvailable" in type(error.orig).__name__:
            raise StateBusy("The catalog is in use by another process.") from error
        if "is full" in str(error.orig):
            raise StorageFailed(
                "The catalog could not be written: the disk that it is on is full."
            ) from error
        raise StorageFailed("The catalog could not be written or read.") from error
    except (SQLAlchemyError, OSError) as error:
        raise StorageFailed("The catalog could not be written or read.") from error


def _shown(url: sa.URL) -> str:
    return url.database or "" if url.drivername == _SQLITE else url.render_as_string()


def _missing(name: str) -> CatalogMissing:
    return CatalogMissing(
        f"The catalog {name} is missing or empty, but there are verified adapters that it named."
        " Restore it from a backup. Or start once with --new-catalog: then revision numbers begin"
        " at 1 again, and aliases, pins and adapters that were added by request are lost."
    )


def _explain(name: str, error: Exception) -> str:
    if isinstance(error, CommandError):
        return f"The catalog {name} was written by a newer Veneer: {error}"
    if isinstance(error, DatabaseError | sqlite3.Error) and not isinstance(error, InterfaceError):
        return (
            f"The catalog {name} cannot be used ({error.__cause__ or error}). The file was left as"
            " it is; restore it from a backup, or move it away and start once with --new-catalog."
        )
    return f"The catalog {name} cannot be opened ({error})."
