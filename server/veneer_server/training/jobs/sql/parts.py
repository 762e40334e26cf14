"""The statements on the events and checkpoints of jobs."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from veneer_server.training.jobs.records import Event, Published
from veneer_server.training.jobs.sql.conversions import (
    to_checkpoint,
    to_checkpoint_row,
    to_event,
    to_event_row,
)
from veneer_server.training.jobs.sql.tables import checkpoints, events
from veneer_server.worklist.pages import Page, cut


async def say(connection: AsyncConnection, job_id: str, said: Sequence[Event], *, now: int) -> None:
    """Add events at the end."""
    if not said:
        return
    asked = sa.select(sa.func.coalesce(sa.func.max(events.c.place), 0)).where(
        events.c.job == job_id
    )
    last = (await connection.execute(asked)).scalar_one()
    rows = [to_event_row(job_id, last + at, event, now) for at, event in enumerate(said, 1)]
    await connection.execute(sa.insert(events), rows)


async def event_page(
    connection: AsyncConnection, job_id: str, *, after: str | None, limit: int
) -> Page[Event] | None:
    """Return a page of events, the newest first; None when ``after`` is none of them."""
    asked = sa.select(events).where(events.c.job == job_id)
    if after is not None:
        place = await place_of(connection, job_id, after)
        if place is None:
            return None
        asked = asked.where(events.c.place < place)
    ordered = asked.order_by(events.c.place.desc()).limit(limit + 1)
    found = [to_event(row) for row in (await connection.execute(ordered)).mappings()]
    return cut(found, limit)


async def place_of(connection: AsyncConnection, job_id: str, event_id: str) -> int | None:
    """Return the place of an event among those of its job, None when it is none of them."""
    known = sa.select(events.c.place).where(events.c.job == job_id, events.c.id == event_id)
    place: int | None = (await connection.execute(known)).scalar()
    return place


async def events_since(
    connection: AsyncConnection, job_id: str, place: int, limit: int
) -> list[tuple[int, Event]]:
    """Return the next events after ``place``, the oldest first, each with its place."""
    asked = sa.select(events).where(events.c.job == job_id, events.c.place > place)
    ordered = asked.order_by(events.c.place).limit(limit)
    found = (await connection.execute(ordered)).mappings()
    return [(row["place"], to_event(row)) for row in found]


async def keep(connection: AsyncConnection, published: Published) -> None:
    """Keep a checkpoint; what was kept of it before is replaced."""
    same = sa.and_(checkpoints.c.job == published.job, checkpoints.c.step == published.step)
    await connection.execute(sa.delete(checkpoints).where(same))
    await connection.execute(sa.insert(checkpoints), to_checkpoint_row(published))


async def published(connection: AsyncConnection, job_id: str) -> list[Published]:
    """Return every checkpoint of a job, the newest first."""
    asked = sa.select(checkpoints).where(checkpoints.c.job == job_id)
    ordered = asked.order_by(checkpoints.c.step.desc())
    return [to_checkpoint(row) for row in (await connection.execute(ordered)).mappings()]
