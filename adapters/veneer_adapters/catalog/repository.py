"""Reads entries from the database, and replaces them in one transaction."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from veneer_adapters.catalog import tables
from veneer_adapters.catalog.alias import Alias
from veneer_adapters.catalog.database import Database
from veneer_adapters.catalog.entry import Entry
from veneer_adapters.catalog.rows import Row, Writes, to_alias, to_entries
from veneer_adapters.errors import CatalogUnreadable
from veneer_adapters.faults import fault_point

_MAX_IN = 500
"""How many names one IN list has; SQLite takes 32766 parameters, PostgreSQL about as many."""

_CLOCK = sa.select(tables.clock.c.version)

Edit = Callable[[dict[str, Entry]], Iterable[Entry]]
Replaced = Sequence[tuple[Entry | None, Entry]]
"""Each entry that changes, before and after."""
Note = Callable[[AsyncConnection, Replaced], Awaitable[Callable[[], None]]]
"""Writes down what changes, in the same transaction, and returns what to do when it is committed.
When it raises, nothing changes."""


async def unnoted(connection: AsyncConnection, replaced: Replaced) -> Callable[[], None]:
    """Write nothing; the default."""
    return lambda: None


class Repository:
    """The only reader and writer of the catalog's tables, except for usage and replays."""

    def __init__(
        self, database: Database, where: Callable[[str], Path], note: Note = unnoted
    ) -> None:
        """Use ``database``; ``where`` says where the content with a digest is stored.

        ``note`` gets every change.
        """
        self._database = database
        self._note = note
        self._where = where

    async def version(self) -> int:
        """Return the version of the clock: another number means that something changed."""
        async with self._database.reading() as connection:
            version: int = (await connection.scalars(_CLOCK)).one()
            return version

    async def changed_since(self, version: int) -> tuple[dict[str, Entry], int]:
        """Return the entries that changed after ``version``, and the version of the clock now.

        Raises:
            CatalogUnreadable: the content of the database contradicts itself.
        """
        async with self._database.reading() as connection:
            now = (await connection.scalars(_CLOCK)).one()
            newer = sa.select(tables.adapters.c.name).where(tables.adapters.c.changed > version)
            return await self._entries(connection, newer), now

    async def edit(self, names: Collection[str], change: Edit) -> tuple[dict[str, Entry], int]:
        """Let ``change`` replace some of the entries called ``names``, as they are now.

        ``change`` gets those that exist in the database and returns the new entries; when it
        raises, nothing changes. Returns the entries that differ now, and the new version of the
        clock.

        Raises:
            StateBusy, StorageFailed: nothing changed.
        """
        async with self._database.writing(of_catalog=True) as (connection, version):
            before = await self._named(connection, names)
            after = {e.name: e for e in change(dict(before)) if e != before.get(e.name)}
            writes = Writes()
            for name, entry in after.items():
                writes.replace(before.get(name), entry, version)
            await _write(connection, writes)
            replaced = [(before.get(name), entry) for name, entry in after.items()]
            committed = await self._note(connection, replaced)
        committed()
        return after, version

    async def moves(self, adapter: str, alias: str) -> list[Alias]:
        """Return what ``alias`` was after each of its moves, the newest first."""
        table = tables.moves
        asked = (
            sa.select(table.c.record)
            .where(table.c.adapter == adapter, table.c.name == alias)
            .order_by(table.c.id.desc())
        )
        async with self._database.reading() as connection:
            return [to_alias(record) for record in (await connection.scalars(asked)).all()]

    async def _named(self, connection: AsyncConnection, names: Collection[str]) -> dict[str, Entry]:
        wanted = sorted(set(names))
        found: dict[str, Entry] = {}
        for begin in range(0, len(wanted), _MAX_IN):
            some = sa.select(tables.adapters.c.name).where(
                tables.adapters.c.name.in_(wanted[begin : begin + _MAX_IN])
            )
            found |= await self._entries(connection, some)
        return found

    async def _entries(
        self, connection: AsyncConnection, names: sa.Select[Any]
    ) -> dict[str, Entry]:
        adapters = await _rows(connection, tables.adapters, tables.adapters.c.name, names)
        revisions = await _rows(connection, tables.revisions, tables.revisions.c.adapter, names)
        aliases = await _rows(connection, tables.aliases, tables.aliases.c.adapter, names)
        try:
            return to_entries(adapters, revisions, aliases, self._where)
        except ValueError as error:
            raise CatalogUnreadable(f"The catalog contradicts itself: {error}") from error


async def _rows(
    connection: AsyncConnection, table: sa.Table, column: sa.Column[Any], names: sa.Select[Any]
) -> list[Row]:
    found = await connection.execute(sa.select(table).where(column.in_(names)))
    return [dict(row) for row in found.mappings()]


async def _write(connection: AsyncConnection, writes: Writes) -> None:
    for table in tables.metadata.sorted_tables:  # parents before their children
        if gone := writes.deleted.get(table):
            fault_point("catalog.write")
            await connection.execute(sa.delete(table).where(_keys(table)), _bound(table, gone))
        if new := writes.inserted.get(table):
            fault_point("catalog.write")
            await connection.execute(sa.insert(table), new)
        if changed := writes.updated.get(table):
            fault_point("catalog.write")
            bound = zip(changed, _bound(table, changed), strict=True)
            rows = [{**row, **keys} for row, keys in bound]
            await connection.execute(sa.update(table).where(_keys(table)), rows)


def _keys(table: sa.Table) -> sa.ColumnElement[bool]:
    return sa.and_(*(column == sa.bindparam(f"key_{column.name}") for column in table.primary_key))


def _bound(table: sa.Table, rows: Iterable[Row]) -> list[Row]:
    return [{f"key_{c.name}": row[c.name] for c in table.primary_key} for row in rows]
