"""The statements on jobs. Each runs in the transaction of the connection it gets."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from veneer_server.training.jobs.records import UNFINISHED, FineTuningJob, Page
from veneer_server.training.jobs.sql.conversions import to_job, to_row
from veneer_server.training.jobs.sql.tables import checkpoints, events, jobs, labels

BATCH = 200
"""How many jobs one statement removes at most, so that no other writer waits long."""


async def insert(connection: AsyncConnection, job: FineTuningJob) -> None:
    """Add a job."""
    await connection.execute(sa.insert(jobs), to_row(job))
    found = job.recipe.metadata or {}
    if found:
        rows = [{"job": job.id, "name": name, "value": value} for name, value in found.items()]
        await connection.execute(sa.insert(labels), rows)


async def find(connection: AsyncConnection, job_id: str) -> FineTuningJob | None:
    """Return the job, whoever's it is."""
    row = (await connection.execute(sa.select(jobs).where(jobs.c.id == job_id))).mappings().first()
    return None if row is None else to_job(row)


async def replace(connection: AsyncConnection, job: FineTuningJob) -> None:
    """Write everything of a job."""
    await connection.execute(sa.update(jobs).where(jobs.c.id == job.id).values(to_row(job)))


async def claim(
    connection: AsyncConnection, job_id: str, runner: str, *, now: int, silent: int
) -> bool:
    """Make ``runner`` work on the job, unless another one said after ``silent`` that it does."""
    free = sa.or_(jobs.c.runner.is_(None), jobs.c.runner == runner, jobs.c.beat < silent)
    change = sa.update(jobs).where(jobs.c.id == job_id, free)
    return (await connection.execute(change.values(runner=runner, beat=now))).rowcount == 1


async def page(
    connection: AsyncConnection,
    owner: str,
    *,
    after: FineTuningJob | None,
    limit: int,
    metadata: Mapping[str, str] | None,
) -> Page[FineTuningJob]:
    """Return a page of the owner's jobs that have all of ``metadata``, the newest first.

    With ``metadata`` None those are returned too that have none; an empty one asks for just those.
    """
    asked = sa.select(jobs).where(jobs.c.owner == owner)
    if after is not None:
        asked = asked.where(jobs.c.number < after.number)
    if metadata == {}:
        asked = asked.where(~_labelled())
    for name, value in (metadata or {}).items():
        asked = asked.where(_labelled(labels.c.name == name, labels.c.value == value))
    ordered = asked.order_by(jobs.c.number.desc()).limit(limit + 1)
    found = [to_job(row) for row in (await connection.execute(ordered)).mappings()]
    return Page(found[:limit], len(found) > limit)


async def count_unfinished(connection: AsyncConnection, owner: str) -> int:
    """Return how many jobs of the owner have not ended."""
    asked = sa.select(sa.func.count()).where(jobs.c.owner == owner, _unfinished())
    return (await connection.execute(asked)).scalar_one()


async def unfinished(connection: AsyncConnection) -> list[FineTuningJob]:
    """Return every job that has not ended, the oldest first."""
    asked = sa.select(jobs).where(_unfinished()).order_by(jobs.c.number)
    return [to_job(row) for row in (await connection.execute(asked)).mappings()]


async def delete_old(connection: AsyncConnection, before: int) -> int:
    """Remove some of the jobs that were made earlier and have ended; return how many."""
    ended = sa.and_(jobs.c.created < before, sa.not_(_unfinished()))
    asked = sa.select(jobs.c.id).where(ended).limit(BATCH)
    ids = list((await connection.execute(asked)).scalars())
    for table in (events, checkpoints, labels):
        await connection.execute(sa.delete(table).where(table.c.job.in_(ids)))
    await connection.execute(sa.delete(jobs).where(jobs.c.id.in_(ids)))
    return len(ids)


def _labelled(*terms: Any) -> Any:
    return sa.exists().where(labels.c.job == jobs.c.id, *terms)


def _unfinished() -> Any:
    return jobs.c.status.in_(UNFINISHED)
