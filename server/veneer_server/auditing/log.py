"""The audit log of one database: entries are added, and read in pages."""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from veneer_adapters.catalog.database import Database
from veneer_adapters.catalog.repository import Replaced
from veneer_server.auditing.entries import ASKED, DONE, FIRST, Change, Entry, chained
from veneer_server.auditing.tables import audit_entries
from veneer_server.auditing.unasked import CANCELLED, GUARD, unasked

logger = structlog.get_logger(__name__)

PUBLISHING = ("adapter.add", "adapter.publish", "training.publish")
_HARMLESS = (ASKED, DONE, CANCELLED, "adapter_exists", "invalid_request")
"""Outcomes after which nobody needs to look."""
_LOOKED_AT = 2000


class AuditLog:
    """Adds entries, one after the other, also where several servers share the database."""

    def __init__(self, database: Database, *, now: Callable[[], float] = time.time) -> None:
        self._database = database
        self._now = now

    @property
    def now(self) -> int:
        """The time that an entry gets, in seconds since the epoch."""
        return int(self._now())

    async def append(self, change: Change) -> Entry:
        """Add an entry for ``change``, and write it to the server's own log.

        Raises:
            AdapterUnavailable: the database cannot be written; there is no entry.
        """
        # Writers take turns, so no two entries follow the same one.
        async with self._database.writing() as (connection, _):
            [entry] = await _add(connection, [change])
        _log([entry])
        return entry

    async def note(self, connection: AsyncConnection, replaced: Replaced) -> Callable[[], None]:
        """Add entries for what no request changed in the catalog, in the transaction that does.

        So these changes have their entries, or do not happen. What is returned writes the entries
        to the server's own log, once they are committed.
        """
        changes = [
            change for before, after in replaced for change in unasked(before, after, self.now)
        ]
        entries = await _add(connection, changes) if changes else []
        return lambda: _log(entries)

    async def page(self, after: int, limit: int) -> list[Entry]:
        """Return at most ``limit`` entries that follow the number ``after``, the oldest first.

        Raises:
            AdapterUnavailable: the database cannot be read.
        """
        follow = sa.select(audit_entries).where(audit_entries.c.number > after)
        async with self._database.reading() as connection:
            rows = await connection.execute(follow.order_by(audit_entries.c.number).limit(limit))
            return [_to_entry(row) for row in rows]

    async def troubles(self, limit: int) -> list[Entry]:
        """Return the newest canaries that a guard took back and contents that were refused.

        Only the newest ``_LOOKED_AT`` entries of the log are looked at.

        Raises:
            AdapterUnavailable: the database cannot be read.
        """
        columns = audit_entries.c
        refused = sa.and_(columns.action.in_(PUBLISHING), columns.outcome.not_in(_HARMLESS))
        wrong = sa.or_(sa.and_(columns.actor == GUARD, columns.outcome == DONE), refused)
        async with self._database.reading() as connection:
            newest, _ = await _last(connection)
            asked = sa.select(audit_entries).where(columns.number > newest - _LOOKED_AT, wrong)
            rows = await connection.execute(asked.order_by(columns.number.desc()).limit(limit))
            return [_to_entry(row) for row in rows]


async def _add(connection: AsyncConnection, changes: Sequence[Change]) -> list[Entry]:
    number, previous = await _last(connection)
    entries = []
    for change in changes:
        entry = chained(change, number + 1, previous)
        entries.append(entry)
        number, previous = entry.number, entry.hash
    rows = [{**e.as_json(), "details": json.dumps(e.change.details)} for e in entries]
    await connection.execute(sa.insert(audit_entries), rows)
    return entries


def _log(entries: Iterable[Entry]) -> None:
    for entry in entries:
        logger.info("audit", **{k: v for k, v in entry.as_json().items() if k != "previous"})


async def _last(connection: AsyncConnection) -> tuple[int, str]:
    newest = sa.select(audit_entries.c.number, audit_entries.c.hash)
    found = await connection.execute(newest.order_by(audit_entries.c.number.desc()).limit(1))
    row = found.first()
    return (row.number, row.hash) if row is not None else (0, FIRST)


def _to_entry(row: Any) -> Entry:
    change = Change(
        time=row.time,
        actor=row.actor,
        tenant=row.tenant,
        action=row.action,
        object=row.object,
        details=json.loads(row.details),
        outcome=row.outcome,
        request=row.request,
    )
    return Entry(row.number, row.previous, row.hash, change)
