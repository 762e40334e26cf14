"""The statements that remove what is old, in the transaction of the connection they get."""

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from veneer_server.conversations.records import UNFINISHED
from veneer_server.conversations.sql.tables import conversations, responses

BATCH = 200
"""How many rows one statement removes at most, so that no other writer waits long."""


async def delete_expired(connection: AsyncConnection, *, now: int) -> int:
    """Remove some of what is expired; return how many rows that were."""
    removed = 0
    for table in (responses, conversations):
        old = sa.select(table.c.id).where(table.c.expires <= now).limit(BATCH)
        gone = await connection.execute(sa.delete(table).where(table.c.id.in_(old)))
        removed += gone.rowcount
    return removed


async def total_size(connection: AsyncConnection) -> int:
    """Return how many bytes everything has that is kept."""
    sizes = [
        sa.select(sa.func.coalesce(sa.func.sum(t.c.size), 0)) for t in (responses, conversations)
    ]
    return sum([int((await connection.execute(size)).scalar_one()) for size in sizes])


async def delete_oldest(connection: AsyncConnection, size_bytes: int) -> int:
    """Remove what expires first, until ``size_bytes`` are gone or a batch is full.

    Responses that are still being generated stay. Returns how many bytes went.
    """
    finished = sa.select(responses.c.id, responses.c.expires, responses.c.size)
    old = sa.union_all(
        finished.where(responses.c.status.not_in(UNFINISHED)),
        sa.select(conversations.c.id, conversations.c.expires, conversations.c.size),
    ).subquery()
    asked = sa.select(old.c.id, old.c.size).order_by(old.c.expires).limit(BATCH)
    chosen, gone = [], 0
    for id_, size in await connection.execute(asked):
        chosen.append(id_)
        gone += size
        if gone >= size_bytes:
            break
    for table in (responses, conversations):
        await connection.execute(sa.delete(table).where(table.c.id.in_(chosen)))
    return gone
