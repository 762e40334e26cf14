"""The statements on jobs. Each runs in the transaction of the connection it gets."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from veneer_server.training.jobs.records import UNFINISHED, FineTuningJob, Status
from veneer_server.training.jobs.sql.conversions import to_job, to_row
from veneer_server.training.jobs.sql.tables import checkpoints, events, jobs, labels
from veneer_server.worklist.pages import Page
from veneer_server.worklist.statements import Statements

work = Statements(jobs, UNFINISHED, to_job, parts=(events.c.job, checkpoints.c.job, labels.c.job))
"""What jobs have in common with other work."""


async def insert(connection: AsyncConnection, job: FineTuningJob) -> None:
    """Add a job."""
    await connection.execute(sa.insert(jobs), to_row(job))
    found = job.recipe.metadata or {}
    if found:
        rows = [{"job": job.id, "name": name, "value": value} for name, value in found.items()]
        await connection.execute(sa.insert(labels), rows)


async def replace(connection: AsyncConnection, job: FineTuningJob) -> None:
    """Write everything of a job."""
    await connection.execute(sa.update(jobs).where(jobs.c.id == job.id).values(to_row(job)))


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
    terms = [
        _labelled(labels.c.name == name, labels.c.value == value)
        for name, value in (metadata or {}).items()
    ]
    if metadata == {}:
        terms.append(~_labelled())
    number = None if after is None else after.number
    return await work.page(connection, owner, *terms, after=number, limit=limit)


async def failed(connection: AsyncConnection, limit: int) -> list[FineTuningJob]:
    """Return the newest jobs that failed."""
    asked = sa.select(jobs).where(jobs.c.status == Status.FAILED).order_by(jobs.c.number.desc())
    return [to_job(row) for row in (await connection.execute(asked.limit(limit))).mappings()]


def _labelled(*terms: Any) -> Any:
    return sa.exists().where(labels.c.job == jobs.c.id, *terms)
