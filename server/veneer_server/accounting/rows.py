"""The statements on usage. Each runs in the transaction of the connection it gets."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from veneer_server.accounting.queries import MOST_ROWS, Group, Question, Sums
from veneer_server.accounting.records import UsageRecord
from veneer_server.accounting.tables import request_usage

BATCH = 500
"""How many rows one statement writes or removes at most."""
_SUMMED = ("input_tokens", "cached_tokens", "output_tokens", "queue_s", "cold_start_s", "total_s")


async def insert(connection: AsyncConnection, records: Sequence[UsageRecord]) -> None:
    """Add rows; those that are there already stay as they are."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    add = dialect.insert(request_usage).on_conflict_do_nothing()
    await connection.execute(add, [asdict(record) for record in records])


async def count_old(connection: AsyncConnection, before: int) -> int:
    """Return how many rows there are of requests that ended earlier."""
    old = sa.select(sa.func.count()).where(request_usage.c.time < before)
    count: int = (await connection.scalars(old)).one()
    return count


async def delete_old(connection: AsyncConnection, before: int) -> int:
    """Remove some rows of requests that ended earlier; return how many."""
    old = sa.select(request_usage.c.id).where(request_usage.c.time < before).limit(BATCH)
    gone = await connection.execute(
        sa.delete(request_usage).where(request_usage.c.id.in_(old.scalar_subquery()))
    )
    return gone.rowcount


async def sums(connection: AsyncConnection, question: Question) -> list[Sums]:
    """Return the sums of each group in each bucket; ``MOST_ROWS`` and one at most."""
    columns = [request_usage.c[group] for group in question.groups]
    # Written out, so that PostgreSQL sees the same expression at both places.
    width = sa.literal_column(str(int(question.width_s)), sa.BigInteger)
    bucket = (request_usage.c.time // width).label("bucket")
    asked = (
        sa.select(
            bucket,
            *columns,
            sa.func.count().label("requests"),
            *(sa.func.sum(request_usage.c[name]).label(name) for name in _SUMMED),
        )
        .where(request_usage.c.time >= question.begin, request_usage.c.time < question.end)
        .where(*(_is_one_of(group, values) for group, values in question.only))
        .group_by(bucket, *columns)
        .order_by(bucket, *columns)
        .limit(MOST_ROWS + 1)
    )
    return [_to_sums(row, question) for row in await connection.execute(asked)]


def _is_one_of(group: Group, values: Sequence[str]) -> Any:
    return request_usage.c[group].in_(values)


def _to_sums(row: Any, question: Question) -> Sums:
    return Sums(
        bucket=int(row.bucket) * question.width_s,
        group={str(group): getattr(row, group) for group in question.groups},
        requests=row.requests,
        input_tokens=int(row.input_tokens),
        cached_tokens=int(row.cached_tokens),
        output_tokens=int(row.output_tokens),
        queue_s=row.queue_s,
        cold_start_s=row.cold_start_s,
        total_s=row.total_s,
    )
