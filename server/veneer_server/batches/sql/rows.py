"""The statements on batches. Each runs in the transaction of the connection it gets."""

from dataclasses import asdict, fields
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from veneer_server.batches.records import UNFINISHED, Batch, LineFault, Page, Progress, Status
from veneer_server.batches.sql.tables import batches

BATCH = 200
"""How many rows one statement removes at most, so that no other writer waits long."""
_JSON = ("metadata", "times", "faults")
_PROGRESS = tuple(field.name for field in fields(Progress))


async def insert(connection: AsyncConnection, batch: Batch) -> None:
    """Add a batch."""
    await connection.execute(sa.insert(batches), _to_row(batch))


async def find(connection: AsyncConnection, batch_id: str) -> Batch | None:
    """Return the batch, whoever's it is."""
    asked = sa.select(batches).where(batches.c.id == batch_id)
    row = (await connection.execute(asked)).first()
    return None if row is None else _to_batch(row)


async def replace(connection: AsyncConnection, batch: Batch) -> None:
    """Write everything of a batch but its progress, which only its runner writes."""
    row = {name: value for name, value in _to_row(batch).items() if name not in _PROGRESS}
    await connection.execute(sa.update(batches).where(batches.c.id == batch.id).values(row))


async def note(connection: AsyncConnection, batch_id: str, progress: Progress, now: int) -> None:
    """Write how far a batch is, and that its runner lives."""
    change = sa.update(batches).where(batches.c.id == batch_id)
    await connection.execute(change.values(asdict(progress) | {"beat": now}))


async def claim(
    connection: AsyncConnection, batch_id: str, runner: str, *, now: int, silent: int
) -> bool:
    """Make ``runner`` work on the batch, unless another one said after ``silent`` that it does."""
    free = sa.or_(batches.c.runner.is_(None), batches.c.runner == runner, batches.c.beat < silent)
    change = sa.update(batches).where(batches.c.id == batch_id, free)
    return (await connection.execute(change.values(runner=runner, beat=now))).rowcount == 1


async def page(connection: AsyncConnection, owner: str, *, after: Batch | None, limit: int) -> Page:
    """Return a page of the owner's batches that follow ``after``, the newest first."""
    asked = sa.select(batches).where(batches.c.owner == owner)
    if after is not None:
        asked = asked.where(batches.c.number < after.number)
    rows = await connection.execute(asked.order_by(batches.c.number.desc()).limit(limit + 1))
    found = [_to_batch(row) for row in rows]
    return Page(found[:limit], len(found) > limit)


async def count_unfinished(connection: AsyncConnection, owner: str) -> int:
    """Return how many batches of the owner have not ended."""
    asked = sa.select(sa.func.count()).where(batches.c.owner == owner, _unfinished())
    return (await connection.execute(asked)).scalar_one()


async def unfinished(connection: AsyncConnection) -> list[Batch]:
    """Return every batch that has not ended, the oldest first."""
    asked = sa.select(batches).where(_unfinished()).order_by(batches.c.number)
    return [_to_batch(row) for row in await connection.execute(asked)]


async def delete_old(connection: AsyncConnection, before: int) -> int:
    """Remove some of the batches that were made earlier and have ended; return how many."""
    ended = sa.and_(batches.c.created < before, sa.not_(_unfinished()))
    old = sa.select(batches.c.id).where(ended).limit(BATCH).scalar_subquery()
    return (await connection.execute(sa.delete(batches).where(batches.c.id.in_(old)))).rowcount


def _unfinished() -> Any:
    return batches.c.status.in_(UNFINISHED)


def _to_row(batch: Batch) -> dict[str, Any]:
    row = asdict(batch)
    row |= row.pop("progress")
    return row | {name: None if row[name] is None else _to_json(row[name]) for name in _JSON}


def _to_json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _to_batch(row: Any) -> Batch:
    found = row._asdict()
    del found["runner"], found["beat"]
    found |= {n: None if found[n] is None else orjson.loads(found[n]) for n in _JSON}
    found["progress"] = Progress(**{name: found.pop(name) for name in _PROGRESS})
    found["status"] = Status(found["status"])
    found["faults"] = tuple(LineFault(**fault) for fault in found["faults"])
    return Batch(**found)
