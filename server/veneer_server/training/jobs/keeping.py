"""The rows of jobs in one database: found, claimed and changed."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncConnection

from veneer_adapters.catalog.database import Database
from veneer_adapters.errors import AdapterUnavailable
from veneer_adapters.threads import to_its_end
from veneer_server.training.jobs.errors import JobNotFound, JobsUnavailable
from veneer_server.training.jobs.records import Event, FineTuningJob, Published
from veneer_server.training.jobs.sql import parts, rows

Act = Callable[[FineTuningJob], FineTuningJob]


class KeptJobs:
    """The jobs of one database.

    Every method raises JobsUnavailable when the database cannot be read or written. A write that
    has begun ends, also when its caller is cancelled: a transaction that is cut off would keep the
    others of SQLite waiting, and nobody would know whether it was committed.
    """

    def __init__(self, database: Database, *, now: Callable[[], float] = time.time) -> None:
        """Keep rows in ``database``."""
        self._database = database
        self._now = now

    @property
    def now(self) -> int:
        """The time, in seconds since the epoch."""
        return int(self._now())

    @property
    def shared(self) -> bool:
        """Whether other servers may use the same database."""
        return self._database.shared

    async def look(self, job_id: str) -> FineTuningJob | None:
        """Return the job, whoever's it is."""
        async with self._reading() as connection:
            return await rows.find(connection, job_id)

    async def unfinished(self) -> list[FineTuningJob]:
        """Return every job that has not ended, the oldest first."""
        async with self._reading() as connection:
            return await rows.unfinished(connection)

    async def published(self, job_id: str) -> list[Published]:
        """Return every checkpoint of a job, the newest first."""
        async with self._reading() as connection:
            return await parts.published(connection, job_id)

    async def claim(self, job_id: str, runner: str, *, silent_s: int) -> bool:
        """Return whether ``runner`` may work on the job: no other one was heard of lately.

        To claim it again says that the runner lives.
        """
        return await to_its_end(self._claim(job_id, runner, silent_s))

    async def _claim(self, job_id: str, runner: str, silent_s: int) -> bool:
        now = self.now
        async with self._writing() as (connection, _):
            return await rows.claim(connection, job_id, runner, now=now, silent=now - silent_s)

    async def change(
        self, job_id: str, act: Act, *said: Event, published: Sequence[Published] = ()
    ) -> FineTuningJob:
        """Write what ``act`` makes of the job as it is now, with events and checkpoints.

        When ``act`` returns the very job that it got, nothing is written at all.
        """
        return await to_its_end(self._change(job_id, act, said, published))

    async def _change(
        self, job_id: str, act: Act, said: Sequence[Event], published: Sequence[Published]
    ) -> FineTuningJob:
        async with self._writing() as (connection, _):
            found = await rows.find(connection, job_id)
            if found is None:
                raise JobNotFound(job_id)
            changed = act(found)
            if changed is not found:
                await rows.replace(connection, changed)
                await parts.say(connection, job_id, said, now=self.now)
                for one in published:
                    await parts.keep(connection, one)
        return changed

    async def delete_old(self, days: int) -> None:
        """Remove what is known of jobs that ended and were made so many days ago."""
        before, gone = self.now - days * 24 * 3600, rows.BATCH
        while gone == rows.BATCH:
            async with self._writing() as (connection, _):
                gone = await rows.delete_old(connection, before)

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[tuple[AsyncConnection, int]]:
        try:
            async with self._database.writing() as given:
                yield given
        except AdapterUnavailable as error:
            raise _unavailable() from error

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._database.reading() as connection:
                yield connection
        except AdapterUnavailable as error:
            raise _unavailable() from error


def _unavailable() -> JobsUnavailable:
    return JobsUnavailable("The server cannot read or write jobs now. Try again later.")
