"""The statements that every kind of work has. Each runs in the transaction it is given."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from veneer_server.worklist.pages import Page, cut

T = TypeVar("T")
BATCH = 200
"""How much work one statement removes at most, so that no other writer waits long."""


@dataclass(frozen=True, slots=True)
class Statements(Generic[T]):
    """Statements on a table of work.

    The table has the columns ``id``, ``owner``, ``number``, ``created``, ``status``, ``runner``
    (the server that works on it) and ``beat`` (when that said so last, in seconds).
    """

    table: sa.Table
    open: Sequence[str]
    """The values of ``status`` of work that has not ended."""
    to_record: Callable[[Any], T]
    parts: tuple[sa.Column[Any], ...] = ()
    """Columns of other tables that name the work they belong to; it takes their rows with it."""

    async def find(self, connection: AsyncConnection, id_: str) -> T | None:
        """Return the work, whoever's it is."""
        asked = sa.select(self.table).where(self.table.c.id == id_)
        row = (await connection.execute(asked)).mappings().first()
        return None if row is None else self.to_record(row)

    async def unfinished(self, connection: AsyncConnection) -> list[T]:
        """Return all work that has not ended, the oldest first."""
        asked = sa.select(self.table).where(self._is_open()).order_by(self.table.c.number)
        return [self.to_record(row) for row in (await connection.execute(asked)).mappings()]

    async def count_unfinished(self, connection: AsyncConnection, owner: str) -> int:
        """Return how much work of the owner has not ended."""
        asked = sa.select(sa.func.count()).where(self.table.c.owner == owner, self._is_open())
        return (await connection.execute(asked)).scalar_one()

    async def page(
        self,
        connection: AsyncConnection,
        owner: str,
        *terms: sa.ColumnElement[bool],
        after: int | None,
        limit: int,
    ) -> Page[T]:
        """Return a page of the owner's work that meets ``terms``, the newest first.

        It begins with what was made before the work with the number ``after``.
        """
        asked = sa.select(self.table).where(self.table.c.owner == owner, *terms)
        if after is not None:
            asked = asked.where(self.table.c.number < after)
        ordered = asked.order_by(self.table.c.number.desc()).limit(limit + 1)
        rows = (await connection.execute(ordered)).mappings()
        return cut([self.to_record(row) for row in rows], limit)

    async def claim(
        self, connection: AsyncConnection, id_: str, runner: str, *, now: int, silent: int
    ) -> bool:
        """Make ``runner`` work on it, unless another one said after ``silent`` that it does."""
        columns = self.table.c
        free = sa.or_(columns.runner.is_(None), columns.runner == runner, columns.beat < silent)
        change = sa.update(self.table).where(columns.id == id_, free)
        return (await connection.execute(change.values(runner=runner, beat=now))).rowcount == 1

    async def delete_old(self, connection: AsyncConnection, before: int) -> int:
        """Remove some of the work that was made earlier and has ended; return how much."""
        ended = sa.and_(self.table.c.created < before, sa.not_(self._is_open()))
        asked = sa.select(self.table.c.id).where(ended).limit(BATCH)
        ids = list((await connection.execute(asked)).scalars())
        for column in (*self.parts, self.table.c.id):
            await connection.execute(sa.delete(column.table).where(column.in_(ids)))
        return len(ids)

    def _is_open(self) -> sa.ColumnElement[bool]:
        return self.table.c.status.in_(self.open)
