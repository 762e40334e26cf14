"""The statements on files. Each runs in the transaction of the connection it gets."""

from collections.abc import Collection
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from veneer_server.files.records import Page, StoredFile
from veneer_server.files.tables import files

BATCH = 200
"""How many rows one statement removes at most, so that no other writer waits long."""


async def insert(connection: AsyncConnection, file: StoredFile) -> None:
    """Add a file."""
    await connection.execute(sa.insert(files), asdict(file))


async def find(
    connection: AsyncConnection, owner: str, file_id: str, *, now: int
) -> StoredFile | None:
    """Return the file unless it is expired or another owner's."""
    asked = sa.select(files).where(files.c.id == file_id, *_seen_by(owner, now))
    row = (await connection.execute(asked)).first()
    return None if row is None else _to_file(row)


async def page(
    connection: AsyncConnection,
    owner: str,
    *,
    purpose: str | None,
    after: StoredFile | None,
    limit: int,
    newest: bool,
    now: int,
) -> Page:
    """Return a page of the owner's files that follow ``after``."""
    asked = sa.select(files).where(*_seen_by(owner, now))
    if purpose is not None:
        asked = asked.where(files.c.purpose == purpose)
    if after is not None:
        number = files.c.number
        asked = asked.where(number < after.number if newest else number > after.number)
    order = files.c.number.desc() if newest else files.c.number
    rows = (await connection.execute(asked.order_by(order).limit(limit + 1))).all()
    return Page([_to_file(row) for row in rows[:limit]], len(rows) > limit)


async def weigh(connection: AsyncConnection, owner: str, *, now: int) -> tuple[int, int]:
    """Return how many files the owner has, and how many bytes they have together."""
    total = sa.func.coalesce(sa.func.sum(files.c.size_bytes), 0)
    asked = sa.select(sa.func.count(), total).where(*_seen_by(owner, now))
    count, size_bytes = (await connection.execute(asked)).one()
    return int(count), int(size_bytes)


async def delete(connection: AsyncConnection, owner: str, file_id: str, *, now: int) -> str | None:
    """Remove a file; return the digest of its content, None when the owner has no such file."""
    gone = sa.delete(files).where(files.c.id == file_id, *_seen_by(owner, now))
    row = (await connection.execute(gone.returning(files.c.digest))).first()
    return None if row is None else str(row.digest)


async def delete_expired(connection: AsyncConnection, *, now: int) -> set[str] | None:
    """Remove some of what is expired; return the digests, None when nothing was expired."""
    old = sa.select(files.c.id).where(files.c.expires <= now).limit(BATCH).scalar_subquery()
    gone = sa.delete(files).where(files.c.id.in_(old)).returning(files.c.digest)
    rows = (await connection.execute(gone)).all()
    return {str(row.digest) for row in rows} or None


async def used(connection: AsyncConnection, digests: Collection[str]) -> set[str]:
    """Return those of ``digests``, at most ``BATCH``, whose content some file has."""
    asked = sa.select(files.c.digest).where(files.c.digest.in_(digests)).distinct()
    return {str(row.digest) for row in await connection.execute(asked)}


def _seen_by(owner: str, now: int) -> tuple[Any, ...]:
    lasts = sa.or_(files.c.expires.is_(None), files.c.expires > now)
    return files.c.owner == owner, lasts


def _to_file(row: Any) -> StoredFile:
    return StoredFile(**row._asdict())
