"""The statements on batches. Each runs in the transaction of the connection it gets."""

from dataclasses import asdict, fields
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from veneer_server.batches.records import UNFINISHED, Batch, LineFault, Progress, Status
from veneer_server.batches.sql.tables import batches
from veneer_server.worklist.statements import Statements

_JSON = ("metadata", "times", "faults")
_PROGRESS = tuple(field.name for field in fields(Progress))


async def insert(connection: AsyncConnection, batch: Batch) -> None:
    """Add a batch."""
    await connection.execute(sa.insert(batches), _to_row(batch))


async def replace(connection: AsyncConnection, batch: Batch) -> None:
    """Write everything of a batch but its progress, which only its runner writes."""
    row = {name: value for name, value in _to_row(batch).items() if name not in _PROGRESS}
    await connection.execute(sa.update(batches).where(batches.c.id == batch.id).values(row))


async def note(connection: AsyncConnection, batch_id: str, progress: Progress, now: int) -> None:
    """Write how far a batch is, and that its runner lives."""
    change = sa.update(batches).where(batches.c.id == batch_id)
    await connection.execute(change.values(asdict(progress) | {"beat": now}))


def _to_row(batch: Batch) -> dict[str, Any]:
    row = asdict(batch)
    row |= row.pop("progress")
    return row | {name: None if row[name] is None else _to_json(row[name]) for name in _JSON}


def _to_json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _to_batch(row: Any) -> Batch:
    found = dict(row)
    del found["runner"], found["beat"]
    found |= {n: None if found[n] is None else orjson.loads(found[n]) for n in _JSON}
    found["progress"] = Progress(**{name: found.pop(name) for name in _PROGRESS})
    found["status"] = Status(found["status"])
    found["faults"] = tuple(LineFault(**fault) for fault in found["faults"])
    return Batch(**found)


work = Statements(batches, UNFINISHED, _to_batch)
"""What batches have in common with other work."""
